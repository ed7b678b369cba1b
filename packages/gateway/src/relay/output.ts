import { once } from 'node:events'
import { FRAMES_MEDIA_TYPE } from '@coppice/protocol'
import type { RelayClient } from './client.ts'
import { FrameCutter } from './frame-cutter.ts'
import { onEachSession, type RelayCall, type RelayTarget } from './relay.ts'
import { LinkBroken, type Upstream } from './upstream.ts'

/**
 * Bytes that may wait for the client before the sandbox's stream is paused. Enough that neither side waits for the other at
 * full speed; it is also what a stalled client costs.
 */
const AHEAD_BYTES = 256 * 1024

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

/**
 * Moves frames until the last one. Whatever comes in one turn of the event loop leaves as one write: chunks are 16 KiB
 * (HTTP/2 DATA), and a write of its own for each costs more than all else here.
 *
 * @throws LinkBroken when the stream ends before the last frame
 */
async function pump(upstream: Upstream, client: RelayClient, cutter: FrameCutter): Promise<void> {
  const { stream } = upstream
  const { response } = client
  const finished = Promise.withResolvers<void>()
  let corked = false
  const flush = () => {
    corked = false
    // `uncork` of an answer writes length, chunks and line ends one by one; the socket makes one call of them.
    const { socket } = response
    socket?.cork()
    response.uncork()
    // Not while corked: Node would send the end of a chunked body before its last chunk.
    if (cutter.ended) response.end()
    socket?.uncork()
    if (cutter.ended) finished.resolve()
    else if (response.writableLength > AHEAD_BYTES) stream.pause()
  }
  const onData = (chunk: Buffer) => {
    try {
      const pieces = cutter.push(chunk)
      if (pieces.length === 0) return
      if (!corked) {
        corked = true
        response.cork()
        setImmediate(flush)
      }
      for (const piece of pieces) response.write(piece)
    } catch (error) {
      finished.reject(error)
    }
  }
  const onClose = () => {
    if (!cutter.ended) finished.reject(new LinkBroken())
  }
  const onDrain = () => stream.resume()
  response.on('drain', onDrain)
  stream.on('data', onData).once('close', onClose)
  // Not `closed`: that is already true of a stream whose last bytes wait to be read here.
  if (stream.destroyed) onClose()
  try {
    await finished.promise
  } finally {
    response.off('drain', onDrain)
    stream.off('data', onData).off('close', onClose).resume()
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
