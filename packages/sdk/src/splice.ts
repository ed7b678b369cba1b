import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/** Bytes that may wait at one end before the other is made to wait. */
const AHEAD_BYTES = 256 * 1024

/** Makes two connections one: bytes, ends and resets of each become the other's, the two directions independently. */
export function splice(one: Duplex, other: Duplex): void {
  tie(one, other)
  tie(other, one)
  pour(one, other)
  pour(other, one)
}

function tie(stream: Duplex, peer: Duplex): void {
  stream.on('error', () => {})
  stream.once('close', () => {
    if (!(stream.readableEnded && stream.writableFinished) && !peer.destroyed) resetSocket(peer)
  })
  if (stream.destroyed) resetSocket(peer)
}

/** One direction. What comes in one turn of the event loop leaves as one write. */
function pour(from: Duplex, to: Duplex): void {
  let corked = false
  let ended = false
  const flush = () => {
    corked = false
    to.uncork()
    if (ended) to.end()
  }
  const flushSoon = () => {
    if (corked) return
    corked = true
    to.cork()
    setImmediate(flush)
  }
  const onEnd = () => {
    ended = true
    flushSoon()
  }
  from.on('data', (chunk: Buffer) => {
    if (!to.writable) return
    flushSoon()
    if (!to.write(chunk) && to.writableLength > AHEAD_BYTES) from.pause()
  })
  to.on('drain', () => from.resume())
  // It may have said its last while the other one was still being made.
  if (from.readableEnded) onEnd()
  else from.once('end', onEnd)
  from.resume()
}

/** Ends a connection so that the other side notices that it did not come to its end. */
export function resetSocket(stream: Duplex): void {
  stream.on('error', () => {})
  // TLS has no reset, and its end is easily taken for a clean one: what lies below it is reset.
  const below = (stream as { _parent?: unknown })._parent ?? stream
  if (below instanceof Socket && !('encrypted' in below)) below.resetAndDestroy()
  stream.destroy(new Error('the other side was reset'))
}
