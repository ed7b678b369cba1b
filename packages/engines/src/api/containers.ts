import type { Progress } from '@coppice/protocol/wire'
import { CoppiceError, transferStallMs } from '@coppice/protocol/wire'
import type { RequestBody } from '../http/upload.ts'
import type { Calls } from './calls.ts'
import { type ExecOutcome, runInContainer } from './execs.ts'
import { demultiplex } from './logs.ts'
import { hasId, isNumber, isObject, isText, listOf, withMembers } from './shapes.ts'
import type { ContainerConfig, ContainerInspection, ContainerSummary, ContainerUpdate, PathStat } from './types.ts'

const SUMMARY = withMembers({ Id: isText, Names: listOf(isText) })
const STAT = withMembers({ name: isText, size: isNumber, mode: isNumber })
const INSPECTION = withMembers({ Id: isText, Name: isText, State: isObject, Config: isObject, HostConfig: isObject })

/** Containers of an engine. `id` is an id or a name. Nothing here knows which are ours: callers ask by label. */
export class Containers {
  readonly #calls: Calls

  constructor(calls: Calls) {
    this.#calls = calls
  }

  /** All containers, running or not, that have all of these labels (`name` or `name=value`). */
  list(labels: string[], progress: Progress): Promise<ContainerSummary[]> {
    const query = { all: 'true', filters: JSON.stringify({ label: labels }) }
    return this.#calls.json({ method: 'GET', path: '/containers/json', query }, progress, listOf(SUMMARY))
  }

  /** Undefined when there is none. */
  async inspect(id: string, progress: Progress): Promise<ContainerInspection | undefined> {
    try {
      const request = { method: 'GET', path: `${at(id)}/json` } as const
      return await this.#calls.json<ContainerInspection>(request, progress, INSPECTION)
    } catch (error) {
      return ifMissing(error, undefined)
    }
  }

  /** Returns the id. */
  async create(name: string, config: ContainerConfig, progress: Progress): Promise<string> {
    const { Id } = await this.#calls.json<{ Id: string }>(
      { method: 'POST', path: '/containers/create', query: { name }, json: config },
      progress,
      hasId,
    )
    return Id
  }

  /** A success when it runs already. */
  async start(id: string, progress: Progress): Promise<void> {
    await this.#calls.status({ method: 'POST', path: `${at(id)}/start`, accept: [304] }, progress)
  }

  /** A success when it does not run. */
  async kill(id: string, progress: Progress): Promise<void> {
    // Podman says 500 for one that has ended, Docker 409 and 404.
    try {
      await this.#calls.status({ method: 'POST', path: `${at(id)}/kill`, query: { signal: 'KILL' } }, progress)
    } catch (error) {
      const found = await this.inspect(id, progress)
      if (found?.State.Running) throw error
    }
  }

  /** Lets a paused one go on; a success when it is not paused. */
  async unpause(id: string, progress: Progress): Promise<void> {
    await this.#calls.status({ method: 'POST', path: `${at(id)}/unpause`, accept: [304, 404, 409, 500] }, progress)
  }

  /** Changes limits. Throws `failed_precondition` where the dialect can do that with a running container only, and it is not. */
  async update(id: string, limits: ContainerUpdate, progress: Progress): Promise<void> {
    const own = this.#calls.transport.dialect.limitUpdates === 'libpod'
    const request = own
      ? { path: `/libpod${at(id)}/update`, json: toResources(limits) }
      : { path: `${at(id)}/update`, json: limits }
    await this.#calls.status({ method: 'POST', ...request }, progress)
  }

  /** Waits for the end of a container, however long that takes, and returns its exit code. */
  async wait(id: string, progress: Progress): Promise<number> {
    const { StatusCode } = await this.#calls.json<{ StatusCode: number }>(
      { method: 'POST', path: `${at(id)}/wait`, query: { condition: 'not-running' }, timeoutMs: 0 },
      progress,
      withMembers({ StatusCode: isNumber }),
    )
    return StatusCode
  }

  /** Kills it, and removes it with its anonymous volumes. A success when there is none, or when it is being removed. */
  async remove(id: string, progress: Progress): Promise<void> {
    const query = { force: 'true', v: 'true' }
    await this.#calls.status({ method: 'DELETE', path: at(id), query, accept: [404, 409] }, progress)
  }

  /**
   * Makes an image of a container's files under a new name `repository:tag`, and returns its id. A running container is paused for it,
   * and goes on afterwards. An engine that was asked goes on when the caller hangs up.
   */
  async commit(id: string, name: { repository: string; tag: string }, progress: Progress): Promise<string> {
    const query = { container: id, repo: name.repository, tag: name.tag, pause: 'true' }
    const request = { method: 'POST', path: '/commit', query, json: {}, timeoutMs: 0 } as const
    return (await this.#calls.json<{ Id: string }>(request, progress, hasId)).Id
  }

  /** Runs a command in a running container to its end. */
  run(id: string, argv: string[], progress: Progress): Promise<ExecOutcome> {
    return runInContainer(this.#calls, id, argv, progress)
  }

  /** Output and error together, of the last `tailLines` lines; ends when the engine has told what it holds. */
  logs(id: string, tailLines: number, progress: Progress): AsyncGenerator<Buffer> {
    const query = { stdout: 'true', stderr: 'true', tail: String(tailLines), follow: 'false' }
    return demultiplex(this.#calls.bytes({ method: 'GET', path: `${at(id)}/logs`, query }, progress))
  }

  /**
   * Unpacks a tar archive into a folder of a container, running or not. With `sizeBytes` the engine is told the length, and an
   * archive that turns out to have another is never a whole one for it. Throws `deadline_exceeded/transfer_stalled`.
   */
  async putArchive(id: string, folder: string, archive: RequestBody, progress: Progress): Promise<void> {
    const query = { path: folder, noOverwriteDirNonDir: 'true' }
    // It unpacks what it takes as it takes it: with the last byte it has nearly done.
    const request = {
      method: 'PUT',
      path: `${at(id)}/archive`,
      query,
      body: archive,
      timeoutMs: transferStallMs(),
    } as const
    await this.#calls.status(request, progress)
  }

  /** A file or folder of a container as a tar archive. */
  getArchive(id: string, path: string, progress: Progress): AsyncGenerator<Buffer> {
    return this.#calls.bytes({ method: 'GET', path: `${at(id)}/archive`, query: { path } }, progress)
  }

  /** Undefined when there is no such path. Throws `not_found` when there is no such container. */
  async statPath(id: string, path: string, progress: Progress): Promise<PathStat | undefined> {
    const { headers, status, body } = await this.#calls.head(`${at(id)}/archive`, { path }, progress)
    body.destroy()
    if (status === 404) {
      if (await this.inspect(id, progress)) return undefined
      throw new CoppiceError('not_found', 'container_not_found', `There is no container ${id}.`)
    }
    const encoded = String(headers['x-docker-container-path-stat'] ?? '')
    return this.#calls.parse<PathStat>(Buffer.from(encoded, 'base64').toString('utf8'), `HEAD ${at(id)}/archive`, STAT)
  }
}

/** The same limits in the words of the OCI runtime specification. */
function toResources(limits: ContainerUpdate): Record<string, unknown> {
  const { Memory, MemorySwap, CpuPeriod, CpuQuota, CpuShares, PidsLimit } = limits
  return {
    memory: { limit: Memory, swap: MemorySwap },
    cpu: { period: CpuPeriod, quota: CpuQuota, shares: CpuShares },
    pids: { limit: PidsLimit },
  }
}

function at(id: string): string {
  return `/containers/${encodeURIComponent(id)}`
}

/** The value given when an engine has refused with "there is no such thing". */
export function ifMissing<T>(error: unknown, value: T): T {
  if (error instanceof CoppiceError && error.code === 'not_found') return value
  throw error
}
