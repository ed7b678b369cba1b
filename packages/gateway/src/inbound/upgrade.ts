import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { splice } from '@coppice/protocol/splice'
import { type Inward, noAnswer, sendAnswer, startInward } from './exchange.ts'
import { outwardHeaders, type RawHeaders } from './headers.ts'
import type { PortAgent } from './port-agent.ts'

/** What a client that asked for another protocol is answered with: its connection as it is, and an answer to write on it. */
export interface UpgradeClient {
  request: IncomingMessage
  socket: Duplex
  /** What the client sent behind its request. */
  head: Buffer
  /** An ordinary answer on the connection, after which it ends. */
  answer: () => ServerResponse
}

/**
 * Passes a request for another protocol (WebSocket) into a sandbox. When the server there agrees, the two connections become
 * one; otherwise its answer is passed on and the client's connection ends.
 *
 * @throws CoppiceError when nothing was answered
 */
export async function passUpgrade(agent: PortAgent, inward: Inward, client: UpgradeClient): Promise<void> {
  const { request, socket, head } = client
  // A kept connection may be ending: there is one try only.
  agent.drop(inward.target, 0)
  const inner = startInward(agent, inward, request)
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const onGone = () => {
    inner.destroy()
    resolve()
  }
  socket.once('close', onGone)
  inner.on('error', reject)
  inner.once('close', () => reject(new Error('the connection was closed')))
  inner.once('upgrade', (answer, stream, first) => {
    socket.off('close', onGone)
    socket.write(head101(answer))
    if (first.length > 0) socket.write(first)
    if (head.length > 0) stream.write(head)
    resolve(splice(socket, stream))
  })
  inner.once('response', (answer) => {
    try {
      sendAnswer(answer, request, client.answer())
      resolve()
    } catch (error) {
      inner.destroy()
      reject(error)
    }
  })
  inner.end()
  await promise.catch((error: unknown) => {
    throw error instanceof Error && 'reason' in error ? error : noAnswer(inward.target, error)
  })
}

function head101(answer: IncomingMessage): Buffer {
  const raw: RawHeaders = outwardHeaders(answer, false, true)
  const lines = [`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}`]
  for (let at = 0; at + 1 < raw.length; at += 2) lines.push(`${raw[at]}: ${raw[at + 1]}`)
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}
