import { randomBytes } from 'node:crypto'
import type { Engine } from '@coppice/engines'
import { CoppiceError, Progress } from '@coppice/protocol'

/** Lines of the log that an error brings along. */
const LAST_LINES = 20

/** Milliseconds for taking away what a failed build has left. */
const CLEAN_UP_MS = 60_000

export interface BuildRequest {
  /** Path of the Dockerfile in the context. */
  dockerfile?: string
  target?: string
  noCache: boolean
  buildArgs: Record<string, string>
}

/**
 * Builds with an engine's own builder, the context streamed to it as it comes, and hands the result over as a `docker save` archive. The
 * engine keeps its cache and no image; a build that fails or is cancelled leaves nothing.
 *
 * @param onLine told every line that the builder says
 * @throws `failed_precondition/build_failed` with the step, its last lines and its status
 */
export async function buildWith<T>(
  engine: Engine,
  context: AsyncIterable<Uint8Array>,
  request: BuildRequest,
  onLine: (line: string) => void,
  take: (archive: AsyncIterable<Uint8Array>) => Promise<T>,
  progress: Progress,
): Promise<T> {
  const tag = `coppice-build:${randomBytes(8).toString('hex')}`
  const before = new Set((await engine.images.list([], progress, true)).map(({ Id }) => Id))
  const log = new BuildLog(onLine)
  const { noCache, ...named } = request
  try {
    for await (const text of engine.images.build({ chunks: context }, { tag, noCache, ...named }, progress))
      log.add(text)
    log.flush()
    return await take(engine.images.save([tag], progress))
  } catch (error) {
    log.flush()
    await removeMade(engine, log.made, before)
    const failure = CoppiceError.from(error)
    throw failure.reason === 'engine_failed' ? buildFailed(failure, log) : failure
  } finally {
    await engine.images.remove(tag, new Progress({ timeoutMs: CLEAN_UP_MS }), true).catch(() => {})
  }
}

/** What a builder says, in lines, and what is learnt from it. */
class BuildLog {
  readonly #onLine: (line: string) => void
  #rest = ''
  last: string[] = []
  step = ''
  /** Short ids of images that the steps have made. */
  made: string[] = []

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine
  }

  add(text: string): void {
    const lines = (this.#rest + text).split(/\r?\n/)
    this.#rest = lines.pop() ?? ''
    for (const line of lines) this.#line(line)
  }

  flush(): void {
    if (this.#rest !== '') this.#line(this.#rest)
    this.#rest = ''
  }

  #line(line: string): void {
    if (/^(Step|STEP) \d+/.test(line)) this.step = line
    const [, id] = /^ ---> ([0-9a-f]{12})$/.exec(line) ?? []
    // What stands below FROM was there, or was pulled: it is not the build's.
    if (id && !/^(Step|STEP) \d+\/\d+ ?: ?FROM /i.test(this.step)) this.made.push(id)
    this.last = [...this.last.slice(1 - LAST_LINES), line]
    this.#onLine(line)
  }
}

/** The newest first: an image goes before the one that it was built on. What was there before the build is not touched. */
async function removeMade(engine: Engine, made: string[], before: ReadonlySet<string>): Promise<void> {
  const progress = new Progress({ timeoutMs: CLEAN_UP_MS })
  const old = [...before].map((id) => id.replace(/^sha256:/, ''))
  for (const id of made.toReversed()) {
    if (old.some((known) => known.startsWith(id))) continue
    const found = await engine.images.inspect(id, progress).catch(() => undefined)
    // Somebody has given it a name meanwhile.
    if (found === undefined || (found.RepoTags ?? []).length > 0) continue
    await engine.images.remove(id, progress, true).catch(() => {})
  }
}

function buildFailed(failure: CoppiceError, log: BuildLog): CoppiceError {
  const [, status] = /(?:returned a non-zero code|exit (?:status|code)):? (\d+)/.exec(failure.message) ?? []
  const at = log.step === '' ? '' : ` at ${log.step.trim()}`
  return new CoppiceError('failed_precondition', 'build_failed', `The build failed${at}: ${failure.message}`, {
    facts: { step: log.step.trim(), status: status === undefined ? null : Number(status), lastLines: log.last },
    cause: failure,
  })
}
