import { CoppiceError, Progress } from '@coppice/protocol/wire'
import type { Calls } from '../api/calls.ts'
import type { Images } from '../api/images.ts'
import type { RequestBody } from '../http/upload.ts'
import { buildFailed, LAST_LINES } from './build-failed.ts'
import { withSecrets } from './context-secrets.ts'
import { type BuildOptions, buildQuery } from './options.ts'
import { registryConfig } from './registry-config.ts'

/** Milliseconds for taking away what a failed build has left. */
const CLEAN_UP_MS = 60_000

/** Characters of a line of output that has not ended. A longer one is shown in parts. */
const MAX_LINE = 64 * 1024

/**
 * Builds with the builder that every engine has: an image and a container for each step. Yields what it says, line by line. Ending
 * the loop or the progress ends the build. One that fails or is ended leaves no image.
 *
 * @throws `failed_precondition/build_failed`, what calls throw
 */
export async function* buildClassic(
  calls: Calls,
  images: Images,
  context: RequestBody,
  options: BuildOptions,
  progress: Progress,
): AsyncGenerator<string> {
  const before = new Set((await images.list([], progress, true)).map(({ Id }) => Id))
  const headers = await registryConfig(options, progress)
  const { context: body, query: secrets } = options.secrets?.size
    ? withSecrets(context, options.secrets)
    : { context, query: undefined }
  const query = { ...buildQuery(options), secrets, rm: 'true', forcerm: 'true' }
  const request = { method: 'POST', path: '/build', query, headers, body, timeoutMs: 0 } as const
  const log = new ClassicLog()
  let built = false
  try {
    for await (const line of calls.lines(request, progress)) {
      yield* log.lines(saidBy(line))
    }
    yield* log.rest()
    built = true
  } catch (cause) {
    yield* log.rest()
    const failure = CoppiceError.from(cause)
    throw failure.reason === 'engine_failed' ? buildFailed(failure, log.step.trim(), log.last) : failure
  } finally {
    if (!built) await removeMade(images, log.made, before)
  }
}

/** What a line of the answer says. Of a base image that is pulled, each layer is told once, not each of its megabytes. */
export function saidBy({ stream, status, id }: Record<string, unknown>): string {
  if (typeof stream === 'string') return stream
  if (typeof status !== 'string') return ''
  if (typeof id !== 'string') return `${status}\n`
  return /^(Pulling from|Pull complete|Already exists)/.test(status) ? `${id}: ${status}\n` : ''
}

/** What the builder says, in lines, and what is learnt from it. */
export class ClassicLog {
  #rest = ''
  last: string[] = []
  step = ''
  /** Short ids of images that the steps have made. */
  made: string[] = []

  #noted(line: string): string {
    if (/^(Step|STEP) \d+/.test(line)) this.step = line
    const [, id] = /^ ---> ([0-9a-f]{12})$/.exec(line) ?? []
    // What stands below FROM was there, or was pulled: it is not the build's.
    if (id && !/^(Step|STEP) \d+\/\d+ ?: ?FROM /i.test(this.step)) this.made.push(id)
    this.last = [...this.last.slice(1 - LAST_LINES), line]
    return line
  }

  *lines(text: string): Generator<string> {
    const lines = (this.#rest + text).split(/\r?\n/)
    this.#rest = lines.pop() ?? ''
    for (const line of lines) yield this.#noted(line)
    if (this.#rest.length > MAX_LINE) yield* this.rest()
  }

  *rest(): Generator<string> {
    if (this.#rest !== '') yield this.#noted(this.#rest)
    this.#rest = ''
  }
}

/** The newest first: an image goes before the one that it was built on. What was there before the build is not touched. */
async function removeMade(images: Images, made: string[], before: ReadonlySet<string>): Promise<void> {
  const progress = new Progress({ timeoutMs: CLEAN_UP_MS })
  const old = [...before].map((id) => id.replace(/^sha256:/, ''))
  for (const id of made.toReversed()) {
    if (old.some((known) => known.startsWith(id))) continue
    const found = await images.inspect(id, progress).catch(() => undefined)
    // Somebody has given it a name meanwhile.
    if (found === undefined || (found.RepoTags ?? []).length > 0) continue
    await images.remove(id, progress, true).catch(() => {})
  }
}
