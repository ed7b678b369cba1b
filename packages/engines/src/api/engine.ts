import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { Builds } from '../builds/builds.ts'
import { DIALECTS, type Dialect, type EngineKind, kindOf } from '../dialect.ts'
import { Transport } from '../http/transport.ts'
import { Calls } from './calls.ts'
import { Containers } from './containers.ts'
import { type EventQuery, events } from './events.ts'
import { Images } from './images.ts'
import { ping } from './ping.ts'
import { isText, listOf, maybe, withMembers } from './shapes.ts'
import type { EngineEvent, EngineInfo } from './types.ts'

/** The newest API version that this client knows, and the oldest that it can do with (Docker 19.03). */
const NEWEST_API = '1.48'
const OLDEST_API = '1.40'

const INFO = withMembers({ OSType: isText, SecurityOptions: maybe(listOf(isText)) })

/** An engine that answered, and what it can be asked. Holds no connection: each call makes its own. */
export class Engine {
  readonly dialect: Dialect
  readonly socket: string
  /** Agreed on: the newest that both know. */
  readonly apiVersion: string
  readonly containers: Containers
  readonly images: Images
  readonly builds: Builds
  readonly #calls: Calls

  private constructor(transport: Transport, apiVersion: string, builder: string | undefined) {
    this.dialect = transport.dialect
    this.socket = transport.socket
    this.apiVersion = apiVersion
    this.#calls = new Calls(transport, `/v${apiVersion}`)
    this.containers = new Containers(this.#calls)
    this.images = new Images(this.#calls)
    this.builds = new Builds(this.#calls, this.images, builder)
  }

  /**
   * Asks who is there and agrees on a version. `expected` names it in errors as long as nobody has answered. Throws
   * `unavailable/engine_gone`, `permission_denied/engine_forbidden`, `unsupported/engine_version`.
   */
  static async connect(socket: string, expected: EngineKind, progress: Progress): Promise<Engine> {
    const headers = await ping(new Transport(socket, DIALECTS[expected]), progress)
    const dialect = DIALECTS[kindOf(headers)]
    const theirs = String(headers['api-version'] ?? '')
    if (!/^\d+\.\d+$/.test(theirs) || compareVersions(theirs, OLDEST_API) < 0) {
      throw new CoppiceError(
        'unsupported',
        'engine_version',
        `${dialect.title} at ${socket} speaks API ${theirs || 'of no version'}; ${OLDEST_API} is the oldest that works.`,
        { facts: { socket, version: theirs, oldest: OLDEST_API }, hint: `${dialect.kind} version` },
      )
    }
    const agreed = compareVersions(theirs, NEWEST_API) < 0 ? theirs : NEWEST_API
    const builder = headers['builder-version']
    return new Engine(new Transport(socket, dialect), agreed, typeof builder === 'string' ? builder : undefined)
  }

  /** A sign of life. */
  async ping(progress: Progress): Promise<void> {
    await ping(this.#calls.transport, progress)
  }

  info(progress: Progress): Promise<EngineInfo> {
    return this.#calls.json<EngineInfo>({ method: 'GET', path: '/info' }, progress, INFO)
  }

  /** Events as they come, from `query.since` on, until the progress ends or the engine does. */
  events(query: EventQuery, progress: Progress): AsyncGenerator<EngineEvent> {
    return events(this.#calls, query, progress)
  }
}

/** Negative when `a` is the older one. */
function compareVersions(a: string, b: string): number {
  const [majorA = 0, minorA = 0] = a.split('.').map(Number)
  const [majorB = 0, minorB = 0] = b.split('.').map(Number)
  return majorA - majorB || minorA - minorB
}
