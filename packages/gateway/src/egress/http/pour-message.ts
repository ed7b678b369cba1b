import type { IncomingMessage, OutgoingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Valve } from '../tunnel/valve.ts'
import { passedOn, passedTrailers, rawHead } from './headers.ts'

/**
 * Moves the body of one message into another, its trailers and its end included. What comes in one turn of the event loop leaves
 * as one write. A source that is cut is the caller's to notice: the sink is then not ended.
 */
export function pourMessage(
  source: IncomingMessage,
  sink: OutgoingMessage,
  { ahead, valve }: { ahead: () => number; valve: Valve },
): void {
  let corked = false
  let ended = false
  const resume = () => {
    if (!source.destroyed) source.resume()
  }
  const flush = () => {
    corked = false
    // `uncork` writes length, chunks and line ends one by one; the socket makes one call of them.
    const { socket } = sink
    socket?.cork()
    sink.uncork()
    // Not while corked: Node would send the end of a chunked body before its last chunk.
    if (ended) end()
    socket?.uncork()
    if (ended) return
    if (sink.writableNeedDrain && sink.writableLength > ahead()) {
      source.pause()
    } else if (valve.shut) {
      source.pause()
      valve.whenOpen(resume)
    }
  }
  const flushSoon = () => {
    if (corked) return
    corked = true
    sink.cork()
    setImmediate(flush)
  }
  const end = () => {
    const trailers = passedTrailers(source.rawTrailers)
    if (trailers.length > 0 && !sink.destroyed) sink.addTrailers(trailers)
    sink.end()
  }
  source.on('data', (chunk: Buffer) => {
    if (sink.destroyed) return
    flushSoon()
    sink.write(chunk)
  })
  source.once('end', () => {
    // Of a message that was cut, Node says `end` as well.
    if (!source.complete) return
    ended = true
    flushSoon()
  })
  sink.on('drain', resume)
  source.resume()
}

/** Passes an answer on to a connection that Node's HTTP has let go of, and ends the connection with it. */
export function passRaw(answer: IncomingMessage, socket: Duplex): void {
  const line = `HTTP/1.1 ${answer.statusCode ?? 502} ${answer.statusMessage ?? ''}`
  socket.write(rawHead(line, [...passedOn(answer.rawHeaders), 'Connection', 'close']))
  answer.on('error', () => socket.destroy())
  answer.once('close', () => {
    if (!answer.complete) socket.destroy()
  })
  answer.pipe(socket)
  socket.resume()
}
