import type { IncomingMessage, ServerResponse } from 'node:http'
import { resetSocket } from '@coppice/protocol/splice'
import { addTrailers } from './headers.ts'

/** Bytes that may wait for the client before the sandbox is made to wait. As in relay/pump.ts. */
const AHEAD_BYTES = 256 * 1024

/**
 * Moves an answer's body to the client, as it comes: what arrives in one turn of the event loop leaves as one write, and nothing
 * is held longer. A body that was cut inside is cut here as well, so that nobody takes it for whole.
 */
export function pumpAnswer(answer: IncomingMessage, response: ServerResponse): void {
  let corked = false
  let ended = false
  const flush = () => {
    corked = false
    const { socket } = response
    socket?.cork()
    response.uncork()
    // Not while corked: Node would send the end of a chunked body before its last chunk.
    if (ended) response.end()
    socket?.uncork()
    if (!ended && response.writableLength > AHEAD_BYTES) answer.pause()
  }
  const flushSoon = () => {
    if (corked) return
    corked = true
    response.cork()
    setImmediate(flush)
  }
  answer.on('data', (chunk: Buffer) => {
    if (response.destroyed) return
    flushSoon()
    response.write(chunk)
    if (response.writableLength > 4 * AHEAD_BYTES) answer.pause()
  })
  response.on('drain', () => answer.resume())
  answer.once('end', () => {
    if (!answer.complete) return
    addTrailers(response, answer.rawTrailers)
    ended = true
    flushSoon()
  })
  answer.once('close', () => {
    if (answer.complete || response.writableFinished) return
    const { socket } = response
    if (socket) resetSocket(socket)
    else response.destroy()
  })
}
