import { once } from 'node:events'
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2'

/** Answers one message with one. What it throws, the caller gets as a failure with that message. */
export type GrpcMethod = (message: Buffer, signal: AbortSignal) => Promise<Buffer> | Buffer

/** A call in which both sides send messages, many of them. */
export interface GrpcCall {
  headers: IncomingHttpHeaders
  /** Aborted when the caller has gone. */
  signal: AbortSignal
  /** What the caller sends, until it has no more. */
  messages: AsyncGenerator<Buffer, void, void>
  /** Resolves when there is room for more. Rejects when the caller has gone. */
  send(message: Buffer): Promise<void>
}

/** Has the whole of such a call. What it throws, the caller gets as a failure with that message. */
export type GrpcConversation = (call: GrpcCall) => Promise<void>

/** Codes of the protocol that are used here. */
const OK = 0
const UNKNOWN = 2
const INVALID_ARGUMENT = 3
const NOT_FOUND = 5
const RESOURCE_EXHAUSTED = 8
const UNIMPLEMENTED = 12

/** Bytes of a message that is taken: those that are asked here have a name or two. */
const MAX_MESSAGE_BYTES = 64 * 1024

/** Bytes in front of each message: whether it is packed, and its length. */
const PREFIX_BYTES = 5

/** What the caller may do at most. It is the engine; it makes a call each five seconds and one for each registry. */
export const GRPC_SERVER_OPTIONS = {
  maxSessionMemory: 4,
  settings: { maxConcurrentStreams: 100, initialWindowSize: MAX_MESSAGE_BYTES + PREFIX_BYTES, enablePush: false },
} as const

class GrpcFailure extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** What a method throws for something that is not there: the caller may go on without it. */
export function grpcNotFound(message: string): Error {
  return new GrpcFailure(NOT_FOUND, message)
}

/**
 * Serves calls by gRPC, by their path, such as `/grpc.health.v1.Health/Check`: `methods` have one message each way. What is not there,
 * the caller is told.
 */
export function serveGrpc(
  session: ServerHttp2Session,
  methods: Readonly<Record<string, GrpcMethod>>,
  conversations: Readonly<Record<string, GrpcConversation>> = {},
): void {
  session.on('stream', (stream, headers) => {
    // A caller that has gone away needs no answer.
    stream.on('error', () => {})
    const path = String(headers[':path'])
    const conversation = Object.hasOwn(conversations, path) ? conversations[path] : undefined
    if (conversation) void converse(stream, headers, conversation)
    else void answer(stream, headers, methods)
  })
}

async function answer(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  methods: Readonly<Record<string, GrpcMethod>>,
): Promise<void> {
  const gone = new AbortController()
  stream.once('close', () => gone.abort())
  try {
    const path = String(headers[':path'])
    const method = Object.hasOwn(methods, path) ? methods[path] : undefined
    if (!method) throw new GrpcFailure(UNIMPLEMENTED, `there is no ${path.slice(0, 200)}`)
    const reply = await method(await readMessage(stream), gone.signal)
    if (stream.destroyed) return
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.once('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(OK) }))
    stream.end(Buffer.concat([prefixOf(reply), reply]))
  } catch (cause) {
    fail(stream, cause as Error)
  }
}

async function converse(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  conversation: GrpcConversation,
): Promise<void> {
  const gone = new AbortController()
  stream.once('close', () => gone.abort())
  let trailers: Record<string, string> = { 'grpc-status': String(OK) }
  const send = async (message: Buffer): Promise<void> => {
    if (gone.signal.aborted) throw new Error('the caller has gone')
    stream.write(prefixOf(message))
    if (stream.write(message)) return
    const over = new AbortController()
    const signal = AbortSignal.any([gone.signal, over.signal])
    await once(stream, 'drain', { signal }).finally(() => over.abort())
  }
  try {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.once('wantTrailers', () => stream.sendTrailers(trailers))
    await conversation({ headers, signal: gone.signal, messages: readMessages(stream), send })
  } catch (cause) {
    trailers = failureOf(cause as Error)
  }
  if (!stream.destroyed) stream.end()
}

/** What stands in front of a message. */
function prefixOf({ length }: Buffer): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES)
  prefix.writeUInt32BE(length, 1)
  return prefix
}

function failureOf(cause: Error): Record<string, string> {
  const status = cause instanceof GrpcFailure ? cause.status : cause instanceof RangeError ? INVALID_ARGUMENT : UNKNOWN
  return {
    'grpc-status': String(status),
    'grpc-message': encodeURIComponent(cause.message.toWellFormed().slice(0, 1000)),
  }
}

function fail(stream: ServerHttp2Stream, cause: Error): void {
  if (stream.destroyed || stream.headersSent) return void stream.destroy()
  const failed = { ':status': 200, 'content-type': 'application/grpc', ...failureOf(cause) }
  stream.respond(failed, { endStream: true })
  // What is still being sent is not read.
  stream.close()
}

/** The messages of a call one after the other. What is not read is not taken from the caller. */
async function* readMessages(stream: ServerHttp2Stream): AsyncGenerator<Buffer, void, void> {
  let held: Buffer = Buffer.alloc(0)
  for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    held = Buffer.concat([held, chunk])
    while (held.length >= PREFIX_BYTES) {
      const length = held.readUInt32BE(1)
      if (length > MAX_MESSAGE_BYTES)
        throw new GrpcFailure(RESOURCE_EXHAUSTED, `a message has more than ${MAX_MESSAGE_BYTES} bytes`)
      if (held[0] !== 0) throw new GrpcFailure(UNIMPLEMENTED, 'packed messages are not read')
      if (held.length < PREFIX_BYTES + length) break
      yield held.subarray(PREFIX_BYTES, PREFIX_BYTES + length)
      held = held.subarray(PREFIX_BYTES + length)
    }
  }
}

async function readMessage(stream: ServerHttp2Stream): Promise<Buffer> {
  const whole = await readAll(stream)
  if (whole.length < PREFIX_BYTES || whole.readUInt32BE(1) !== whole.length - PREFIX_BYTES)
    throw new GrpcFailure(INVALID_ARGUMENT, 'a message is not as long as it says')
  if (whole[0] !== 0) throw new GrpcFailure(UNIMPLEMENTED, 'packed messages are not read')
  return whole.subarray(PREFIX_BYTES)
}

/** Not by `for await`: that would destroy the stream of a message that is too long, and the caller would not be told. */
function readAll(stream: ServerHttp2Stream): Promise<Buffer> {
  const parts: Buffer[] = []
  let length = 0
  return new Promise((resolve, reject) => {
    stream.on('data', (chunk: Buffer) => {
      length += chunk.length
      if (length <= PREFIX_BYTES + MAX_MESSAGE_BYTES) parts.push(chunk)
      else reject(new GrpcFailure(RESOURCE_EXHAUSTED, `a message has more than ${MAX_MESSAGE_BYTES} bytes`))
    })
    stream.once('end', () => resolve(Buffer.concat(parts)))
    stream.once('close', () => reject(new Error('the caller has gone')))
  })
}
