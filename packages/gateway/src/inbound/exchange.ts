import http, { type ClientRequest, type IncomingMessage, type InformationEvent, type ServerResponse } from 'node:http'
import { CoppiceError } from '@coppice/protocol'
import { pumpAnswer } from './answer.ts'
import { addTrailers, bodyOf, outwardHeaders, type RawHeaders } from './headers.ts'
import type { PortAgent, PortTarget } from './port-agent.ts'

/** Largest head of an answer, bytes. Servers may be more generous with headers than this gateway is with clients. */
const MAX_HEAD_BYTES = 64 * 1024

/** Informational answers that are passed on, for one request. They are not held back by a client that does not read. */
const MAX_INFORMATIONAL = 16

/** Methods that may be sent again when nobody knows whether they arrived (RFC 9110, 9.2.2). */
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

/** Sends a head whose body may be long in coming. `flushHeaders` would write Latin-1 as UTF-8 (Node 24). */
const NOTHING = Buffer.alloc(0)

/** A request on its way into a sandbox. */
export interface Inward {
  target: PortTarget
  path: string
  headers: RawHeaders
}

/**
 * Passes one request into a sandbox and its answer out. Resolves when the answer is under way or nobody waits for it any more.
 * @throws CoppiceError when nothing was answered and the client can still be told why
 */
export async function exchange(
  agent: PortAgent,
  inward: Inward,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const again = REPEATABLE.has(request.method ?? '') && bodyOf(request) === 'none'
  if (!again) agent.drop(inward.target)
  try {
    await attempt(agent, inward, request, response)
  } catch (error) {
    if (!(error instanceof StaleConnection)) throw error
    if (!again) throw noAnswer(inward.target, error.cause)
    agent.drop(inward.target, 0)
    await attempt(agent, inward, request, response).catch((second: unknown) => {
      throw second instanceof StaleConnection ? noAnswer(inward.target, second.cause) : second
    })
  }
}

/** A kept connection broke before anything was answered: most likely it had been ended before the request reached it. */
class StaleConnection extends Error {}

function attempt(agent: PortAgent, inward: Inward, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const inner = startInward(agent, inward, request)
  const onGone = () => {
    // A server may answer to the end before it has read to the end.
    if (!response.writableFinished) inner.destroy()
    resolve()
  }
  response.once('close', onGone)
  const fail = (error: unknown) => {
    if (error instanceof CoppiceError) reject(error)
    else if (inner.reusedSocket) reject(new StaleConnection('', { cause: error }))
    else reject(noAnswer(inward.target, error))
  }
  let answered = false
  inner.on('error', (error) => {
    if (!answered) fail(error)
  })
  inner.once('close', () => {
    if (!answered) fail(new Error('the connection was closed'))
    // What the client still sends has nowhere to go.
    request.resume()
  })
  inner.once('response', (answer) => {
    answered = true
    try {
      sendAnswer(answer, request, response)
      resolve()
    } catch (error) {
      inner.destroy()
      reject(noAnswer(inward.target, error))
    }
  })
  passInformation(inner, request, response)
  sendBody(request, inner)
  return promise.finally(() => {
    if (!answered) response.off('close', onGone)
  })
}

/** Begins a request into a sandbox. @throws `invalid_argument/bad_request` for one that Node would not send */
export function startInward(agent: PortAgent, inward: Inward, request: IncomingMessage): ClientRequest {
  try {
    return http.request({
      agent,
      method: request.method,
      path: inward.path,
      headers: inward.headers,
      maxHeaderSize: MAX_HEAD_BYTES,
      ...{ target: inward.target },
    })
  } catch (cause) {
    const message = `The request cannot be passed on: ${(cause as Error).message}`
    throw new CoppiceError('invalid_argument', 'bad_request', message, { cause })
  }
}

/** Answers a client with what came from inside, head and body. @throws what Node cannot say in an answer */
export function sendAnswer(answer: IncomingMessage, request: IncomingMessage, response: ServerResponse): void {
  const status = answer.statusCode ?? 0
  const chunks = request.httpVersion === '1.1' && request.method !== 'HEAD' && status !== 204 && status !== 304
  response.sendDate = false
  answer.on('error', () => {})
  const headers = outwardHeaders(answer, chunks)
  response.cork()
  try {
    response.writeHead(status, answer.statusMessage ?? '', headers)
    response.write(NOTHING)
  } finally {
    setImmediate(() => response.uncork())
  }
  pumpAnswer(answer, response)
}

/** Passes on what a server says before its answer: 100 to clients that wait for it, 102, 103. */
function passInformation(inner: ClientRequest, request: IncomingMessage, response: ServerResponse): void {
  let count = 0
  inner.on('information', ({ statusCode, rawHeaders }: InformationEvent) => {
    count += 1
    if (count > MAX_INFORMATIONAL || response.headersSent || request.httpVersion !== '1.1') return
    if (statusCode === 100) {
      if (request.headers.expect !== undefined) response.writeContinue()
      return
    }
    try {
      response.writeInformation(statusCode, outwardHeaders({ rawHeaders, headers: {} } as IncomingMessage, false))
    } catch {
      // Nothing depends on it.
    }
  })
}

/** A body that the client cut off must not look like one that ended. */
function sendBody(request: IncomingMessage, inner: ClientRequest): void {
  if (bodyOf(request) === 'none') {
    inner.end()
    return
  }
  let begun = false
  // A server may want to answer before the first byte of a body comes.
  setImmediate(() => {
    if (!begun && !inner.destroyed) inner.write(NOTHING)
  })
  request.on('data', (chunk: Buffer) => {
    begun = true
    if (inner.destroyed) return
    if (!inner.write(chunk)) request.pause()
  })
  inner.on('drain', () => request.resume())
  request.once('end', () => {
    begun = true
    if (inner.destroyed) return
    addTrailers(inner, request.rawTrailers)
    inner.end()
  })
  request.once('close', () => {
    if (!request.complete) inner.destroy()
  })
}

/** Nothing, or nothing that is HTTP, came back. */
export function noAnswer(target: PortTarget, cause: unknown): CoppiceError {
  const { sandboxId, port } = target
  const { code, message } = (cause ?? {}) as { code?: string; message?: string }
  const why = code?.startsWith('HPE_') ? 'What came back is not HTTP' : 'The connection broke before an answer came'
  return new CoppiceError(
    'unavailable',
    'bad_answer',
    `${why}: port ${port} of sandbox ${sandboxId}${code ? ` (${code})` : ''}.`,
    {
      facts: { sandboxId, port, detail: String(message ?? '').slice(0, 200) },
      hint: `coppice inspect ${sandboxId}`,
      cause,
    },
  )
}
