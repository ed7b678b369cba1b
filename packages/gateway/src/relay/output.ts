import { once } from 'node:events'
import { FRAMES_MEDIA_TYPE } from '@coppice/protocol'
import type { RelayClient } from './client.ts'
import { FrameCutter } from './frame-cutter.ts'
import { onEachSession, type RelayCall, type RelayTarget } from './relay.ts'
import { LinkBroken, type Upstream } from './upstream.ts'

/** Called with the output that passes, as views that must be copied to be kept. */
export type OutputListener = (payload: Buffer) => void

/**
 * Relays an exec's output. When the session breaks, the same answer goes on from the next one at the exact offset: the
 * client sees one unbroken stream.
 *
 * @param callFrom the call that reads from a journal offset on; it must be one that can be made again.
 */
export async function relayOutput(
  target: RelayTarget,
  client: RelayClient,
  from: number,
  callFrom: (offset: number) => RelayCall,
  onOutput: OutputListener,
): Promise<void> {
  const cutter = new FrameCutter(from, onOutput)
  await onEachSession(target, client, async (start) => {
    cutter.reset()
    const upstream = start(callFrom(cutter.nextOffset))
    const answer = await upstream.answer(target.boundMs)
    if (answer[':status'] !== 200) throw await upstream.error()
    if (answer['content-type'] !== FRAMES_MEDIA_TYPE) {
      await passWhole(client, upstream, answer[':status'])
      return
    }
    client.startFrames()
    await pump(upstream, client, cutter)
  })
}

/** Moves frames until the last one. @throws LinkBroken when the stream ends before it. */
async function pump(upstream: Upstream, client: RelayClient, cutter: FrameCutter): Promise<void> {
  const { stream } = upstream
  const { response } = client
  const onDrain = () => stream.resume()
  response.on('drain', onDrain)
  try {
    await new Promise<void>((resolve, reject) => {
      stream.on('data', (chunk: Buffer) => {
        try {
          const pieces = cutter.push(chunk)
          let room = true
          response.cork()
          for (const piece of pieces) room = response.write(piece)
          response.uncork()
          if (cutter.ended) {
            // Not while corked: Node would send the end of a chunked body before its last chunk.
            response.end()
            resolve()
          } else if (!room) {
            stream.pause()
          }
        } catch (error) {
          reject(error)
        }
      })
      stream.once('close', () => (cutter.ended ? resolve() : reject(new LinkBroken())))
      if (stream.closed) reject(new LinkBroken())
    })
  } finally {
    response.off('drain', onDrain)
    stream.removeAllListeners('data')
    stream.resume()
  }
  if (!response.writableFinished && !response.destroyed) await once(response, 'close').catch(() => {})
}

/** Largest JSON answer (a detached exec's info), bytes. */
const MAX_JSON_BYTES = 8 * 1024 * 1024

async function passWhole(client: RelayClient, upstream: Upstream, status: number): Promise<void> {
  const body = await upstream.body(MAX_JSON_BYTES)
  client.response.writeHead(status, { 'content-type': 'application/json', 'content-length': body.length })
  client.response.end(body)
}
