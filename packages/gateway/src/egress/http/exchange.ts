import { type ClientRequest, type IncomingMessage, type ServerResponse, request as startRequest } from 'node:http'
import { CoppiceError } from '@coppice/protocol'
import { NotReached, UseAbsolute } from '../reach.ts'
import { denial } from '../words.ts'
import { type Answer, badRequest, refusalAnswer, sendAnswer } from './answer.ts'
import { type ExchangePlace, upstreamOptions } from './forward.ts'
import { passedOn } from './headers.ts'
import { pourMessage } from './pour-message.ts'
import { readTarget, type Target } from './target.ts'

/** Informational answers that one request may get. */
const MAX_INFORMATIONAL = 16

/** Methods that may be sent twice: a kept-alive connection can be closed by its server in the moment in which it is used. */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'])

/**
 * One plain request and its answer. The request is judged by itself and made anew; nothing of how it was framed is passed on.
 * Resolves when the answer is out or the connection is gone; never rejects.
 */
export async function exchange(
  place: ExchangePlace,
  request: IncomingMessage,
  response: ServerResponse,
  expectsContinue: boolean,
): Promise<void> {
  const over = new Promise<void>((resolve) => response.once('close', resolve))
  if (response.destroyed || response.closed) return
  if (response.writableEnded) return over
  request.on('error', () => {})
  response.on('error', () => {})
  response.sendDate = false
  const refuse = (answer: Answer) => sendAnswer(request, response, answer)
  const target = readTarget(request)
  if ('unusable' in target) {
    place.unusable(request)
    refuse(badRequest(target.unusable))
    return over
  }
  const decision = place.judge(target, request)
  if (!decision.ok) {
    refuse(refusalAnswer(denial(place.called, target.host, target.port, decision)))
    return over
  }
  const attempt = (triesLeft: number) => {
    try {
      forward(place, { request, response, target, expectsContinue }, (error, upstream) => {
        const repeat = error instanceof UseAbsolute || mayRepeat(request, upstream)
        if (repeat && triesLeft > 0) attempt(triesLeft - 1)
        else refuse(failureAnswer(error, target))
      })
    } catch (error) {
      refuse(badRequest(`The request could not be made: ${CoppiceError.from(error).message}.`))
    }
  }
  attempt(2)
  return over
}

interface Exchange {
  request: IncomingMessage
  response: ServerResponse
  target: Target
  expectsContinue: boolean
}

/** @param onFailed called at most once, while nothing of an answer was passed on. */
function forward(
  place: ExchangePlace,
  { request, response, target, expectsContinue }: Exchange,
  onFailed: (error: Error, upstream: ClientRequest) => void,
): void {
  const body = hasBody(request)
  const upstream = startRequest(upstreamOptions(place, request, target, { expectsContinue }))
  const flow = { ahead: place.ahead, valve: place.valve }
  const onGone = () => upstream.destroy()
  response.once('close', onGone)
  let answered = false
  upstream.once('response', (answer) => {
    answered = true
    if (response.headersSent) {
      // It was refused meanwhile: its body could not be read.
      upstream.destroy()
      return
    }
    answer.on('error', () => response.destroy())
    // Never a short body that looks whole.
    answer.once('close', () => {
      if (!answer.complete) response.destroy()
    })
    try {
      response.writeHead(answer.statusCode ?? 502, answer.statusMessage ?? '', answerHeaders(answer))
    } catch {
      answer.destroy()
      onFailed(new Error('The answer has a head that cannot be passed on'), upstream)
      return
    }
    pourMessage(answer, response, flow)
  })
  let informed = 0
  upstream.on('information', ({ statusCode, statusMessage, rawHeaders }) => {
    informed += 1
    // They pass before anybody can hold them back.
    if (informed > MAX_INFORMATIONAL) upstream.destroy(new Error('The server sends informational answers without end'))
    else if (statusCode !== 100) place.inform(request, response, statusCode, statusMessage, rawHeaders)
    else if (expectsContinue && !response.headersSent) response.writeContinue()
  })
  // What the program still sends has nowhere to go: it must not wait for that.
  upstream.once('close', () => {
    if (answered) request.resume()
  })
  // Nobody has asked for another protocol here.
  upstream.once('upgrade', (_answer, socket) => socket.destroy())
  upstream.once('error', (error) => {
    response.off('close', onGone)
    if (!answered) onFailed(error, upstream)
    else if (!response.writableEnded) response.destroy()
  })
  if (!body) upstream.end()
  // Not before: what was read from the program cannot be read again for a second try.
  else upstream.once('socket', () => pourMessage(request, upstream, flow))
}

function answerHeaders(answer: IncomingMessage): string[] {
  const headers = passedOn(answer.rawHeaders)
  const length = answer.headers['content-length']
  if (length !== undefined && answer.headers['transfer-encoding'] === undefined) headers.push('Content-Length', length)
  return headers
}

/** True when a request says that one follows, be it empty. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined
}

function mayRepeat(request: IncomingMessage, upstream: ClientRequest): boolean {
  return upstream.reusedSocket && !hasBody(request) && IDEMPOTENT.has(request.method ?? '')
}

/** What a program is told when nothing was passed on. */
export function failureAnswer(error: Error, target: Pick<Target, 'authority'>): Answer {
  if (error instanceof NotReached) return refusalAnswer(error.refusal)
  if (error instanceof UseAbsolute) {
    const text = `${target.authority} was not reached: the upstream proxy of the gateway takes no tunnels for it.\n`
    return { status: 502, rule: 'failed', text }
  }
  const { code } = error as NodeJS.ErrnoException
  const why =
    code === 'ECONNRESET'
      ? 'it closed the connection without an answer'
      : `its answer was not HTTP (${code ?? error.message})`
  return { status: 502, rule: 'failed', text: `${target.authority} did not answer: ${why}.\n` }
}
