import type { Socket } from 'node:net'
import type { Progress } from '@coppice/protocol/wire'
import { collect, jsonLines, MAX_JSON_BYTES } from '../http/body.ts'
import { garbled, silent, streamFault } from '../http/faults.ts'
import { CALL_TIMEOUT_MS, type EngineAnswer, type EngineRequest, type Transport } from '../http/transport.ts'
import { isObject, type Shape } from './shapes.ts'

/** The shapes that calls of the API have: JSON, nothing, bytes, lines of JSON. */
export class Calls {
  readonly transport: Transport
  readonly #prefix: string

  constructor(transport: Transport, prefix: string) {
    this.transport = transport
    this.#prefix = prefix
  }

  /** A call that answers with one JSON value. Throws `unavailable/answer_garbled` for one that has not this shape. */
  async json<T>(request: EngineRequest, progress: Progress, shape: Shape = isObject): Promise<T> {
    const { text } = await this.#whole(request, progress)
    return this.parse<T>(text, `${request.method} ${request.path}`, shape)
  }

  /** JSON that came in another way than as an answer's body. Throws `unavailable/answer_garbled`. */
  parse<T>(text: string, call: string, shape: Shape): T {
    const value = parsed(text)
    if (shape(value)) return value as T
    throw garbled(text, call, this.transport.dialect)
  }

  /** A call of which only the status matters. */
  async status(request: EngineRequest, progress: Progress): Promise<number> {
    return (await this.#whole(request, progress)).status
  }

  /** A call that answers with bytes, as they come. */
  async *bytes(request: EngineRequest, progress: Progress): AsyncGenerator<Buffer> {
    const { body } = await this.transport.send(this.#versioned(request), progress)
    yield* this.transport.read(body, progress)
  }

  /** A call that answers with gigabytes. A chunk is the caller's until it asks for the next. */
  download(path: string, progress: Progress): AsyncGenerator<Buffer> {
    return this.transport.download(this.#versioned({ method: 'GET', path }), progress)
  }

  /**
   * A call that answers with lines of JSON, as they come. A line that says `error` is thrown.
   * @param maxLineBytes default 1 MiB
   */
  async *lines(
    request: EngineRequest,
    progress: Progress,
    maxLineBytes?: number,
  ): AsyncGenerator<Record<string, unknown>> {
    for await (const line of jsonLines(this.bytes(request, progress), maxLineBytes)) {
      const error = line.error ?? (line.errorDetail as { message?: unknown } | undefined)?.message
      if (typeof error === 'string') {
        throw streamFault(error, `${request.method} ${request.path}`, this.transport.dialect)
      }
      yield line
    }
  }

  /** The head of an answer, also of one that says that there is nothing. */
  head(path: string, query: Record<string, string>, progress: Progress): Promise<EngineAnswer> {
    return this.transport.send(this.#versioned({ method: 'HEAD', path, query, accept: [404] }), progress)
  }

  /** A call after which its connection speaks another protocol. */
  upgrade(request: EngineRequest, protocol: string, progress: Progress): Promise<Socket> {
    return this.transport.upgrade(this.#versioned(request), protocol, progress)
  }

  async #whole(request: EngineRequest, progress: Progress): Promise<{ status: number; text: string }> {
    const { status, body } = await this.transport.send(this.#versioned(request), progress)
    const timeoutMs = request.timeoutMs || CALL_TIMEOUT_MS
    // The head has come: the rest of so short an answer comes at once, or never.
    const timer = setTimeout(
      () => body.destroy(silent(this.transport.socket, this.transport.dialect, timeoutMs)),
      timeoutMs,
    )
    try {
      const bytes = await collect(this.transport.read(body, progress), MAX_JSON_BYTES)
      return { status, text: bytes.toString('utf8') }
    } finally {
      clearTimeout(timer)
    }
  }

  #versioned(request: EngineRequest): EngineRequest {
    return { ...request, path: this.#prefix + request.path }
  }
}

/** Undefined for what is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
