import type { Readable, Writable } from 'node:stream'
import type { Valve } from './valve.ts'

export interface PourOptions {
  /** Bytes that may wait for the sink before the source is paused. */
  ahead: () => number
  /** Holds the source back as well while it is shut. */
  valve?: Valve
}

/**
 * Moves what a source has to a sink until either ends; the end itself is the caller's. What comes in one turn of the event loop
 * leaves as one write: a write of its own for each chunk costs more than all else. While one write is under way the next is
 * gathered, so that neither side waits for the other at full speed.
 */
export function pour(source: Readable, sink: Writable, { ahead, valve }: PourOptions): void {
  let corked = false
  let gathered = 0
  let paused = false
  const resume = () => {
    paused = false
    if (!source.destroyed) source.resume()
  }
  const pause = () => {
    paused = true
    source.pause()
  }
  const flush = () => {
    if (!corked) return
    corked = false
    gathered = 0
    sink.uncork()
    if (sink.writableLength >= ahead()) {
      pause()
    } else if (valve?.shut) {
      pause()
      valve.whenOpen(resume)
    }
  }
  const onWritten = () => {
    if (paused && sink.writableLength < ahead() && !valve?.shut) resume()
  }
  source.on('data', (chunk: Buffer) => {
    if (!sink.writable) return
    if (!corked) {
      corked = true
      sink.cork()
      setImmediate(flush)
    }
    sink.write(chunk, onWritten)
    gathered += chunk.length
    if (gathered >= ahead() / 2) flush()
  })
  source.resume()
}
