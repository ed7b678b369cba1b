import type { Socket } from 'node:net'
import type { Early } from '../session/tunnel.ts'

/** Bytes that a program may send before it is answered; then it is not read until it is. */
const MAX_HELD_BYTES = 64 * 1024

/** A program's connection came to its end, or to its time limit, before it had said what it wants. */
export class IntakeOver extends Error {
  readonly why: 'gone' | 'slow' | 'long'

  constructor(why: 'gone' | 'slow' | 'long') {
    super(`the connection is over: ${why}`)
    this.why = why
  }
}

/** What a parser has found at the start of the bytes: the value, and how many bytes it took. Undefined: it needs more of them. */
export type Found<T> = { readonly value: T; readonly used: number } | undefined

interface Reader {
  look(): void
  fail(error: unknown): void
}

/**
 * The first bytes of a program's connection: held, bounded, given to parsers, and what they leave handed on. It goes on
 * listening while nothing is wanted of it, so that a program that goes away is noticed.
 */
export class Intake {
  readonly #socket: Socket
  readonly #limit: number
  #held: Buffer = Buffer.alloc(0)
  #ended = false
  #reader: Reader | undefined
  #gone: (() => void) | undefined
  #timer: NodeJS.Timeout | undefined

  /** `limitBytes`: what a parser may need at most. */
  constructor(socket: Socket, limitBytes: number) {
    this.#socket = socket
    this.#limit = limitBytes
    socket.on('data', this.#onData).on('end', this.#onEnd).on('close', this.#onClose).on('error', ignore)
  }

  /** The program has sent all it is going to send. */
  get ended(): boolean {
    return this.#ended
  }

  /** Everything that is taken must be there within `ms` from now. */
  expectWithin(ms: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#reader?.fail(new IntakeOver('slow')), ms)
  }

  /** Nothing more is expected: no time limit. */
  expectNothing(): void {
    clearTimeout(this.#timer)
  }

  /** Bytes that are held now. */
  get heldBytes(): number {
    return this.#held.length
  }

  /** What `parse` finds in the bytes, as soon as there are enough of them. Throws `IntakeOver` and what `parse` throws. */
  take<T>(parse: (bytes: Buffer) => Found<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const settle = (act: () => void) => {
        this.#reader = undefined
        act()
      }
      const look = () => {
        try {
          const found = parse(this.#held)
          if (found) {
            this.#held = this.#held.subarray(found.used)
            if (this.#held.length <= MAX_HELD_BYTES) this.#socket.resume()
            settle(() => resolve(found.value))
          } else if (this.#held.length > this.#limit) throw new IntakeOver('long')
          else if (this.#ended || this.#socket.destroyed) throw new IntakeOver('gone')
        } catch (error) {
          settle(() => reject(error))
        }
      }
      this.#reader = { look, fail: (error) => settle(() => reject(error)) }
      look()
    })
  }

  /** Calls back once when the program is gone for good; `atEnd`: also when it only has ended its side. */
  whenGone(atEnd: boolean, call: () => void): void {
    if (this.#socket.destroyed || (atEnd && this.#ended)) {
      call()
      return
    }
    this.#gone = call
    if (atEnd) this.#socket.once('end', call)
  }

  /** Stops listening, and gives what nobody took. The connection is paused. */
  release(): Early {
    clearTimeout(this.#timer)
    const { socket, gone } = { socket: this.#socket, gone: this.#gone }
    socket.pause()
    socket.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onClose)
    if (gone) socket.off('end', gone)
    this.#gone = undefined
    const bytes = this.#held
    this.#held = Buffer.alloc(0)
    return { bytes, ended: this.#ended }
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#held = this.#held.length > 0 ? Buffer.concat([this.#held, chunk]) : chunk
    this.#reader?.look()
    if (this.#held.length > MAX_HELD_BYTES) this.#socket.pause()
  }

  readonly #onEnd = (): void => {
    this.#ended = true
    this.#reader?.look()
  }

  readonly #onClose = (): void => {
    clearTimeout(this.#timer)
    this.#reader?.fail(new IntakeOver('gone'))
    this.#gone?.()
  }
}

const ignore = (): void => {}
