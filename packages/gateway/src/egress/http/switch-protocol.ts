import { type IncomingMessage, request as startRequest } from 'node:http'
import type { Socket } from 'node:net'
import { CoppiceError } from '@coppice/protocol'
import type { Asked, Outbound } from '../outbound.ts'
import { denial } from '../words.ts'
import { type Answer, badRequest, refusalAnswer } from './answer.ts'
import { failureAnswer } from './exchange.ts'
import { type ExchangePlace, upstreamOptions } from './forward.ts'
import { passedOn, rawHead } from './headers.ts'
import { readAuthority, readTarget } from './target.ts'

/** What came of a request to leave HTTP. */
export type Switched =
  | { is: 'answer'; answer: Answer }
  /** The server stays with HTTP: this is to be passed on, and the connection to be ended after it. */
  | { is: 'response'; response: IncomingMessage }
  | {
      is: 'socket'
      socket: Socket
      /** What the program gets first. */
      head: Buffer
      /** The name that what follows must be for; null: it was judged already, or is a bare address. */
      name: string | null
      /** Of a tunnel; of an upgrade, the agent has it. */
      outbound: Outbound | undefined
    }

/** CONNECT on a connection that has served plain requests before. @param reach records what it refuses */
export async function switchToTunnel(
  place: ExchangePlace,
  request: IncomingMessage,
  reach: (asked: Asked) => Promise<Outbound>,
): Promise<Switched> {
  const wanted = readAuthority(request.url ?? '', 0)
  if (!wanted) {
    place.unusable(request)
    return { is: 'answer', answer: badRequest('CONNECT is for HOST:PORT.') }
  }
  try {
    const outbound = await reach(place.asked(wanted, request))
    const name = wanted.host.kind === 'name' ? wanted.host.name : null
    const head = rawHead('HTTP/1.1 200 Connection established', [])
    return { is: 'socket', socket: outbound.socket, head, name, outbound }
  } catch (error) {
    const failure = error instanceof Error ? error : CoppiceError.from(error)
    return { is: 'answer', answer: failureAnswer(failure, { authority: request.url ?? '' }) }
  }
}

/** A request for another protocol (WebSocket): sent on as one, and if the server agrees, its connection is the program's. */
export function switchByUpgrade(place: ExchangePlace, request: IncomingMessage, gone: AbortSignal): Promise<Switched> {
  const target = readTarget(request)
  if ('unusable' in target) {
    place.unusable(request)
    return Promise.resolve({ is: 'answer', answer: badRequest(target.unusable) })
  }
  const decision = place.judge(target, request)
  if (!decision.ok) {
    const refusal = denial(place.called, target.host, target.port, decision)
    return Promise.resolve({ is: 'answer', answer: refusalAnswer(refusal) })
  }
  const { promise, resolve } = Promise.withResolvers<Switched>()
  try {
    const upgrade = request.headers.upgrade ?? ''
    const options = upstreamOptions(place, request, target, { expectsContinue: false, upgrade })
    const upstream = startRequest({ ...options, signal: gone })
    upstream.once('upgrade', (answer, socket, early) => {
      const headers = [...passedOn(answer.rawHeaders), 'Connection', 'Upgrade', 'Upgrade', upgrade]
      if (early.length > 0) socket.unshift(early)
      const head = rawHead(`HTTP/1.1 101 ${answer.statusMessage ?? ''}`, headers)
      resolve({ is: 'socket', socket: socket as Socket, head, name: null, outbound: undefined })
    })
    upstream.once('response', (response) => {
      response.pause()
      resolve({ is: 'response', response })
    })
    upstream.on('error', (error) => resolve({ is: 'answer', answer: failureAnswer(error, target) }))
    upstream.end()
  } catch (error) {
    const text = `The request could not be made: ${CoppiceError.from(error).message}.`
    resolve({ is: 'answer', answer: badRequest(text) })
  }
  return promise
}
