import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/** Bytes that may wait at one end before the other is made to wait. As in the gateway's relay/pump.ts. */
const AHEAD_BYTES = 256 * 1024

/**
 * Makes two connections one: bytes, ends and resets of each become the other's, the two directions independently. Resolves when
 * both are gone.
 */
export function splice(one: Duplex, other: Duplex): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  let left = 2
  const watch = (stream: Duplex, peer: Duplex) => {
    stream.on('error', () => {})
    const closed = () => {
      const whole = stream.readableEnded && stream.writableFinished
      if (!whole && !peer.destroyed) resetSocket(peer)
      left -= 1
      if (left === 0) resolve()
    }
    if (stream.closed) queueMicrotask(closed)
    else stream.once('close', closed)
  }
  watch(one, other)
  watch(other, one)
  pour(one, other)
  pour(other, one)
  return promise
}

/** One direction. What comes in one turn of the event loop leaves as one write: a write of its own for each piece costs most. */
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
  from.on('data', (chunk: Buffer) => {
    if (!to.writable) return
    flushSoon()
    if (!to.write(chunk) && to.writableLength > AHEAD_BYTES) from.pause()
  })
  to.on('drain', () => from.resume())
  const onEnd = () => {
    ended = true
    flushSoon()
  }
  // It may have said its last while the other one was still being made.
  if (from.readableEnded) onEnd()
  else from.once('end', onEnd)
  from.resume()
}

/** Ends a connection so that the other side notices that it did not come to its end: with a reset, where that can be said. */
export function resetSocket(stream: Duplex): void {
  stream.on('error', () => {})
  // TLS has no reset, and its end is easily taken for a clean one: what lies below it is reset.
  const below = (stream as { _parent?: unknown })._parent ?? stream
  if (below instanceof Socket && !('encrypted' in below)) below.resetAndDestroy()
  stream.destroy(new Error('the other side was reset'))
}
