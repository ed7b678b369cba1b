import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type GateVerdict, inspect, tooSlow } from '../sniff/gate.ts'
import { cutSocket } from './cut-socket.ts'
import { Gate } from './gate.ts'
import { linger } from './linger.ts'
import { pour } from './pour.ts'
import { refusalBytes } from './refusal-bytes.ts'
import { Stillness } from './stillness.ts'
import type { Valve } from './valve.ts'

/** The program's side of a connection: a stream of the session, or what stands for one. */
export interface Inside {
  /** Paused. */
  duplex: Duplex
  /** Calls back once at its end, when it is known whether that was one. */
  onceEnded(onEnd: () => void): void
  /** Ends it so that the program sees a reset. */
  reset(): void
  /** False when what it has read may be cut short: its session was lost, or it was reset. */
  whole(): boolean
  /** How it ended when it did so before its time. */
  lost(): 'reset' | 'session_lost'
}

export interface JoinOptions {
  /** The name that TLS or HTTP on the connection must be for; null: a bare address, any. */
  name: string | null
  ahead: () => number
  valve: Valve
  limits: { firstBytesMs: number; idleMs: number; halfOpenMs: number }
  /** Called once, when both sides are gone or were told to go. */
  onEnd: (end: string, refused: (GateVerdict & { is: 'refuse' }) | undefined) => void
}

/**
 * Makes a program's connection and one outside into one, and owns both from then on. Ends travel each way by themselves; a
 * reset of one side resets the other.
 */
export class Join {
  readonly #inside: Inside
  readonly #outside: Socket
  readonly #options: JoinOptions
  #gate: Gate | undefined
  #insideEnded = false
  #outsideEnded = false
  #over = false
  readonly #stillness = new Stillness()

  constructor(inside: Inside, outside: Socket, options: JoinOptions) {
    this.#inside = inside
    this.#outside = outside
    this.#options = options
    const { duplex } = inside
    duplex.on('error', () => {})
    if (duplex.destroyed || outside.destroyed) {
      queueMicrotask(() => this.cut(duplex.destroyed ? inside.lost() : 'reset'))
      return
    }
    inside.onceEnded(() => this.#onInsideEnd())
    duplex.once('close', () => this.#onClose())
    outside.once('end', () => {
      this.#outsideEnded = true
      duplex.end()
    })
    outside.once('close', () => this.#onClose())
    pour(outside, duplex, { ahead: options.ahead, valve: options.valve })
    if (options.name === null) this.#open()
    else this.#close(options.name)
  }

  /** Ends both sides at once. */
  cut(end: string): void {
    if (this.#over) return
    this.#finish(end, undefined)
    cutSocket(this.#outside)
    this.#inside.reset()
  }

  /** Looks for what has stood still for too long. @param now as `performance.now()` */
  sweep(now: number): void {
    if (this.#over) return
    const { limits } = this.#options
    const stillMs = this.#stillness.of(this.#outside.bytesRead + this.#outside.bytesWritten, now)
    const gate = this.#gate
    if (gate?.since !== undefined && now - gate.since > limits.firstBytesMs) this.#refuse(tooSlow(gate.bytes))
    const halfOpen = this.#insideEnded !== this.#outsideEnded
    if (stillMs > (halfOpen ? limits.halfOpenMs : limits.idleMs)) this.cut(halfOpen ? 'half_open' : 'idle')
  }

  #open(): void {
    pour(this.#inside.duplex, this.#outside, { ahead: this.#options.ahead })
  }

  #close(name: string): void {
    const { duplex } = this.#inside
    const gate = new Gate((bytes, ended) => inspect(bytes, name, ended))
    this.#gate = gate
    const onData = (chunk: Buffer) => {
      const verdict = gate.push(chunk, (blank) => this.#outside.write(blank))
      if (verdict.is === 'refuse') {
        duplex.off('data', onData)
        this.#refuse(verdict)
      }
      if (verdict.is !== 'pass') return
      duplex.off('data', onData)
      this.#gate = undefined
      this.#open()
      this.#outside.write(gate.bytes)
    }
    duplex.on('data', onData)
    duplex.resume()
  }

  #onInsideEnd(): void {
    if (this.#over) return
    if (!this.#inside.whole()) {
      this.cut(this.#inside.lost())
      return
    }
    const verdict = this.#gate?.end()
    if (verdict?.is === 'refuse') {
      this.#refuse(verdict)
      return
    }
    if (verdict?.is === 'pass' && this.#gate) this.#outside.write(this.#gate.bytes)
    this.#gate = undefined
    this.#insideEnded = true
    this.#outside.end()
  }

  #onClose(): void {
    if (this.#over) return
    if (!this.#insideEnded || !this.#outsideEnded || !this.#inside.whole()) {
      this.cut(this.#inside.duplex.destroyed && !this.#insideEnded ? this.#inside.lost() : 'reset')
      return
    }
    if (!this.#inside.duplex.closed || !this.#outside.closed) return
    this.#finish('closed', undefined)
  }

  /** Nothing of what the program sent has gone out. It is told why where its protocol can. */
  #refuse(verdict: GateVerdict & { is: 'refuse' }): void {
    const { duplex } = this.#inside
    const untouched = this.#outside.bytesRead === 0
    this.#finish('refused', verdict)
    cutSocket(this.#outside)
    if (!untouched) {
      this.#inside.reset()
      return
    }
    duplex.resume()
    duplex.end(refusalBytes(verdict))
    linger(duplex, () => this.#inside.reset())
  }

  #finish(end: string, refused: (GateVerdict & { is: 'refuse' }) | undefined): void {
    this.#over = true
    this.#gate = undefined
    this.#options.onEnd(end, refused)
  }
}
