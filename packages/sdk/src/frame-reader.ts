import type { IncomingMessage } from 'node:http'
import { CoppiceError, type Frame, FrameDecoder } from '@coppice/protocol/wire'
import { connectionLost, linkSilent } from './link-failure.ts'

/** Milliseconds that an answer may take to end after its last frame, before its connection is given up. */
const LINGER_MS = 2_000

export interface FrameHandler {
  /** Called for each whole frame. What it throws ends the reading and goes to `broken`. */
  frame(frame: Frame): void
  /** The answer ended, broke or fell silent before `finish` or `cut` was called. Called once, nothing follows. */
  broken(error: unknown): void
}

/**
 * Reads frames from an answer as they come, without a promise per frame. An answer from which nothing comes for `stallMs`,
 * while somebody is reading, is cut.
 */
export class FrameReader {
  readonly #response: IncomingMessage
  readonly #handler: FrameHandler
  readonly #decoder = new FrameDecoder()
  readonly #stallMs: number
  #timer: NodeJS.Timeout | undefined
  #heard = 0
  #over = false

  constructor(response: IncomingMessage, stallMs: number, handler: FrameHandler) {
    this.#response = response
    this.#stallMs = stallMs
    this.#handler = handler
    response.on('data', this.#onData)
    response.on('end', () => this.#break(connectionLost('the answer ended before its last frame')))
    response.on('error', (error) => this.#break(connectionLost('the answer was cut off', error)))
    response.on('close', () => this.#break(connectionLost('the answer was cut off')))
    this.#watch()
  }

  /** Stops reading: the other side's buffers fill, and silence is not counted until `resume`. */
  pause(): void {
    if (this.#over) return
    clearTimeout(this.#timer)
    this.#response.pause()
  }

  resume(): void {
    if (this.#over) return
    this.#watch()
    this.#response.resume()
  }

  /** The last frame came: lets the answer end by itself, so that its connection can be used again. */
  finish(): void {
    if (!this.#end()) return
    this.#response.resume()
    const timer = setTimeout(() => this.#response.destroy(), LINGER_MS)
    timer.unref()
    this.#response.once('close', () => clearTimeout(timer))
  }

  /** Ends the connection. */
  cut(): void {
    if (this.#end()) this.#response.destroy()
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#heard += 1
    this.#timer?.refresh()
    try {
      for (const frame of this.#decoder.push(chunk)) {
        if (this.#over) return
        this.#handler.frame(frame)
      }
    } catch (error) {
      this.#break(error)
    }
  }

  #watch(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      // When this process was busy for long, what came meanwhile is read before the check phase: it counts.
      const heard = this.#heard
      setImmediate(() => {
        if (this.#over || this.#response.isPaused()) return
        if (this.#heard === heard) this.#break(linkSilent(this.#stallMs))
        else this.#watch()
      })
    }, this.#stallMs)
  }

  #break(error: unknown): void {
    if (!this.#end()) return
    this.#response.destroy()
    this.#handler.broken(error instanceof CoppiceError ? error : CoppiceError.from(error))
  }

  #end(): boolean {
    if (this.#over) return false
    this.#over = true
    clearTimeout(this.#timer)
    this.#response.off('data', this.#onData)
    return true
  }
}
