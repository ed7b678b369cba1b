import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { CoppiceError, Progress } from '@coppice/protocol/wire'
import type { Calls } from '../api/calls.ts'
import { buildFailed } from '../builds/build-failed.ts'
import { type BuildOptions, buildQuery } from '../builds/options.ts'
import type { RequestBody } from '../http/upload.ts'
import { BuildLog } from './build-log.ts'
import type { BuildSession } from './session.ts'
import { decodeStatus } from './status.ts'
import { DOCKERFILE, SyncedContext } from './synced-context.ts'

/** Bytes of a line of the answer: BuildKit lets about 1 MiB of output come together, and it is in base64. */
const MAX_LINE_BYTES = 8 * 1024 * 1024

/** Milliseconds that a cancelled build has for its end. Then it is hung up, which the engine takes for the same. */
const CANCEL_MS = 10_000
const CANCEL_AGAIN_MS = 200

/**
 * Builds with BuildKit. Yields what it tells, line by line. Returns when the engine has done with it, also when the loop or the
 * progress ends before: nothing of it runs then, and no image comes of it.
 *
 * The context is the body of the one call, as Docker's API has it for programs: the log begins when it has been sent. What is to be
 * read by the builder and not by steps has no place in it: such a context the engine asks for over the session. The way of
 * Docker's command line (`upload-request`), with two calls that find each other within 5 s, cannot be cancelled reliably.
 *
 * @throws `failed_precondition/build_failed`, `unavailable/build_session_lost`, what calls throw
 */
export async function* buildWithBuildKit(
  calls: Calls,
  session: BuildSession,
  context: RequestBody | SyncedContext,
  options: BuildOptions,
  progress: Progress,
): AsyncGenerator<string> {
  const id = randomBytes(16).toString('hex')
  const call = new BuildCall(calls, id)
  const synced = context instanceof SyncedContext ? context : undefined
  const body = context instanceof SyncedContext ? undefined : context
  const query = {
    ...buildQuery(options),
    ...(synced && { remote: 'client-session', dockerfile: DOCKERFILE }),
    version: '2',
    session: session.id,
    buildid: id,
    networkmode: options.network ?? (await networkOf(calls, progress)),
  }
  const stop = (): void => call.stop()
  const ends = [progress.signal, session.lost, ...(synced ? [synced.stalled] : [])]
  for (const signal of ends) signal.addEventListener('abort', stop, { once: true })
  const log = new BuildLog()
  try {
    if (progress.signal.aborted || session.lost.aborted) call.stop()
    for (;;) {
      const line = await call.next(body, query)
      if (!line) break
      const status = line.id === 'moby.buildkit.trace' && decodeStatus(Buffer.from(String(line.aux), 'base64'))
      if (status) yield* log.lines(status)
    }
    yield* log.rest()
    await synced?.readRest()
  } catch (cause) {
    const failure = CoppiceError.from(cause)
    if (failure.reason !== 'engine_gone') {
      progress.throwIfEnded()
      if (session.lost.aborted) throw session.lost.reason
      if (synced?.failure) throw synced.failure
    }
    if (failure.reason !== 'engine_failed') throw failure
    yield* log.rest()
    throw buildFailed(failure, log.failed?.step ?? '', log.failed?.lastLines ?? [])
  } finally {
    for (const signal of ends) signal.removeEventListener('abort', stop)
    await call.end()
  }
}

/** The call that builds, and its end before its time. */
class BuildCall {
  readonly #calls: Calls
  readonly #id: string
  readonly #hangUp = new AbortController()
  readonly #own = new Progress({ signal: this.#hangUp.signal })
  #lines: AsyncGenerator<Record<string, unknown>> | undefined
  #sent = false
  #over = false
  #timer: NodeJS.Timeout | undefined

  constructor(calls: Calls, id: string) {
    this.#calls = calls
    this.#id = id
  }

  /** The next line of the answer; undefined after the last. */
  async next(
    context: RequestBody | undefined,
    query: Record<string, string | undefined>,
  ): Promise<Record<string, unknown> | undefined> {
    this.#sent ||= !context
    const body = context && { ...context, chunks: this.#counted(context.chunks) }
    const request = { method: 'POST', path: '/build', query, ...(body && { body }), timeoutMs: 0 } as const
    this.#lines ??= this.#calls.lines(request, this.#own, MAX_LINE_BYTES)
    try {
      const { done, value } = await this.#lines.next()
      this.#over = done === true
      return done ? undefined : value
    } catch (cause) {
      this.#over = true
      throw cause
    }
  }

  /** Has the engine end the build; the answer ends when it has. Without a whole context no build has begun. */
  stop(): void {
    if (this.#over || this.#timer) return
    if (!this.#sent) {
      this.#hangUp.abort()
      return
    }
    this.#timer = setTimeout(() => this.#hangUp.abort(), CANCEL_MS)
    void this.#cancel().catch((cause) => this.#hangUp.abort(cause))
  }

  /** Waits for the build's end; has it end when it has not. */
  async end(): Promise<void> {
    if (this.#lines && !this.#over) {
      this.stop()
      // What it says while it ends is not told any more.
      for (; !this.#over; ) {
        const { done } = await this.#lines.next().catch(() => ({ done: true }))
        this.#over = done === true
      }
    }
    clearTimeout(this.#timer)
  }

  /** Again until it is over: an engine that has not begun yet takes no note of it. */
  async #cancel(): Promise<void> {
    const cancel = { method: 'POST', path: '/build/cancel', query: { id: this.#id } } as const
    while (!this.#over) {
      await this.#calls.status(cancel, new Progress({ timeoutMs: CANCEL_MS }))
      await sleep(CANCEL_AGAIN_MS)
    }
  }

  async *#counted(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    yield* chunks
    this.#sent = true
  }
}

/** Steps that run something are in the engine's own network, as containers are; none where it has none, which BuildKit takes for an error. */
async function networkOf(calls: Calls, progress: Progress): Promise<string | undefined> {
  try {
    const status = await calls.status({ method: 'GET', path: '/networks/bridge', accept: [404] }, progress)
    return status === 404 ? 'none' : undefined
  } catch (cause) {
    // Who may not look leaves it to the engine.
    if (CoppiceError.from(cause).reason === 'engine_refused') return undefined
    throw cause
  }
}
