import { constants, type ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'

/** Bytes that may wait for a side that does not read before the other is paused. It is also what a stalled reader costs. */
const AHEAD_BYTES = 256 * 1024

/** What a program has sent before its tunnel was there. */
export interface Early {
  readonly bytes: Buffer
  /** It will send no more. */
  readonly ended: boolean
}

const NOTHING: Early = { bytes: Buffer.alloc(0), ended: false }

/**
 * Joins a connection of a program and a stream of the session into one, and owns both from then on. The body of the request
 * goes to the program, the program's bytes are the answer, whose headers must have been sent. END_STREAM is FIN, each way by
 * itself; a reset of either side resets the other, and so does a lost session: no side ever takes a part for the whole.
 *
 * A stream that its peer resets with NO_ERROR cannot be told from one that it ended. Peers reset with another code.
 */
export function joinTunnel(stream: ServerHttp2Stream, socket: Socket, early: Early = NOTHING): void {
  let outsideEnded = false
  let insideEnded = early.ended
  let corked = false
  const { session } = stream
  const complete = () => outsideEnded && insideEnded
  const reset = () => {
    if (!socket.destroyed) socket.resetAndDestroy()
    // Not `close(NGHTTP2_CANCEL)`: that says END_STREAM first, and the other end takes what was cut for whole.
    if (!stream.destroyed) stream.destroy(new Error('reset'))
  }
  if (socket.destroyed || stream.destroyed) {
    reset()
    return
  }

  // What comes in one turn of the event loop leaves as one write: a system call for each frame costs more than all else here.
  const flush = () => {
    corked = false
    socket.uncork()
    if (socket.writableLength > AHEAD_BYTES) stream.pause()
  }
  stream.on('data', (chunk: Buffer) => {
    if (!corked) {
      corked = true
      socket.cork()
      setImmediate(flush)
    }
    socket.write(chunk)
  })
  // A session that is destroyed ends its streams as if their peers had.
  const cut = () => stream.rstCode !== constants.NGHTTP2_NO_ERROR || session?.destroyed === true
  const endOutside = () => {
    if (outsideEnded) return
    outsideEnded = true
    socket.end()
  }
  // A peer may say END_STREAM and RST_STREAM in one breath, and Node tells the first before it has read the second.
  stream.once('end', () => setImmediate(() => (cut() ? reset() : endOutside())))
  stream.on('drain', () => socket.resume())
  stream.once('close', () => {
    if (stream.readableEnded && !cut()) endOutside()
    if (!complete() || stream.rstCode !== constants.NGHTTP2_NO_ERROR) reset()
  })

  socket.on('data', (chunk: Buffer) => {
    stream.write(chunk)
    if (stream.writableLength > AHEAD_BYTES) socket.pause()
  })
  socket.once('end', () => {
    insideEnded = true
    stream.end()
  })
  socket.on('drain', () => stream.resume())
  // What went wrong with it is told by the close that follows.
  socket.on('error', () => {})
  socket.once('close', () => {
    if (!complete()) reset()
  })

  if (early.bytes.length > 0) stream.write(early.bytes)
  if (early.ended) stream.end()
  else socket.resume()
}
