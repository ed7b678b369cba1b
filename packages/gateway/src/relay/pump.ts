import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { FrameCutter } from './frame-cutter.ts'
import { LinkBroken, type Upstream } from './upstream.ts'

/**
 * Bytes that may wait for the client before the sandbox's stream is paused. Enough that neither side waits for the other at
 * full speed; it is also what a stalled client costs.
 */
const AHEAD_BYTES = 256 * 1024

/**
 * Moves an answer to a client and ends the client's with it: at the last frame where a cutter follows the frames, at the end
 * of the stream otherwise. Whatever comes in one turn of the event loop leaves as one write: chunks are 16 KiB (HTTP/2 DATA), and
 * a write of its own for each costs more than all else here.
 *
 * @throws LinkBroken when the stream ends too early; the client's answer is then still open
 */
export async function pump(upstream: Upstream, response: ServerResponse, cutter?: FrameCutter): Promise<void> {
  if (upstream.bodyless && !cutter) {
    response.end()
    return
  }
  const { stream } = upstream
  const finished = Promise.withResolvers<void>()
  let ended = false
  let corked = false
  const flush = () => {
    corked = false
    // `uncork` of an answer writes length, chunks and line ends one by one; the socket makes one call of them.
    const { socket } = response
    socket?.cork()
    response.uncork()
    // Not while corked: Node would send the end of a chunked body before its last chunk.
    if (ended) response.end()
    socket?.uncork()
    if (ended) finished.resolve()
    else if (response.writableLength > AHEAD_BYTES) stream.pause()
  }
  const flushSoon = () => {
    if (corked) return
    corked = true
    response.cork()
    setImmediate(flush)
  }
  const onData = (chunk: Buffer) => {
    try {
      const pieces = cutter ? cutter.push(chunk) : [chunk]
      if (cutter) ended = cutter.ended
      if (pieces.length === 0) return
      flushSoon()
      for (const piece of pieces) response.write(piece)
    } catch (error) {
      finished.reject(error)
    }
  }
  const onEnd = () => {
    if (cutter) return
    ended = true
    flushSoon()
  }
  const onClose = () => {
    if (!ended) finished.reject(new LinkBroken())
  }
  const onDrain = () => stream.resume()
  response.on('drain', onDrain)
  stream.on('data', onData).once('end', onEnd).once('close', onClose)
  // Not `closed`: that is already true of a stream whose last bytes wait to be read here.
  if (stream.destroyed) onClose()
  else stream.resume()
  try {
    await finished.promise
  } finally {
    response.off('drain', onDrain)
    stream.off('data', onData).off('end', onEnd).off('close', onClose).resume()
  }
  if (!response.writableFinished && !response.destroyed) await once(response, 'close').catch(() => {})
}
