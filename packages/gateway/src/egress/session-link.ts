import type { ClientHttp2Stream } from 'node:http2'
import { constants } from 'node:http2'
import type { Link } from '../session/link.ts'
import type { Inside } from './tunnel/join.ts'

/** What egress needs of a session. */
export type SessionLink = Pick<Link, 'request' | 'closed' | 'alive' | 'backlog'>

/** Starts a duplex request. Undefined when the session is gone. The stream is paused and has a listener for errors. */
export function startDuplex(link: SessionLink, path: string): ClientHttp2Stream | undefined {
  if (!link.alive) return undefined
  try {
    const stream = link.request({ ':method': 'POST', ':path': path }, { endStream: false })
    // Said before anything can come: Node throws away what a closed stream holds while nobody has said that it will be read.
    stream.pause()
    stream.on('error', () => {})
    return stream
  } catch {
    return undefined
  }
}

/** Resets a stream. Not by `close(NGHTTP2_CANCEL)`: that says END_STREAM first, and what was cut would be taken for whole. */
export function resetStream(stream: ClientHttp2Stream): void {
  if (!stream.destroyed) stream.destroy(new Error('reset'))
}

/**
 * Calls back when a stream has come to its end, or once it is known that it was cut there: peers may say END_STREAM and then
 * RST_STREAM in one breath, and Node tells the first before it has read the second.
 */
export function onceEnded(stream: ClientHttp2Stream, onEnd: () => void): void {
  let told = false
  const tell = () => {
    if (!told) onEnd()
    told = true
  }
  stream.once('end', () => setImmediate(tell))
  // All is known by then, and who listens to `close` as well must have heard of the end before.
  stream.once('close', () => {
    if (stream.readableEnded) tell()
  })
}

/** A stream as one side of a connection. */
export function streamInside(stream: ClientHttp2Stream, link: SessionLink): Inside {
  return {
    duplex: stream,
    onceEnded: (onEnd) => onceEnded(stream, onEnd),
    reset: () => resetStream(stream),
    // Node ends the streams of a session that it destroys as if their peers had.
    whole: () => link.alive && stream.rstCode === constants.NGHTTP2_NO_ERROR,
    lost: () => (link.alive ? 'reset' : 'session_lost'),
  }
}
