import { type ClientHttp2Stream, constants } from 'node:http2'
import { type EgressAsk, EgressAskSchema, type EgressTell } from '@coppice/protocol'
import type { Connection } from '../connection.ts'
import { resetStream, type SessionLink, startDuplex } from '../session-link.ts'
import { Valve } from '../tunnel/valve.ts'
import { Lines } from './lines.ts'

/** What an attachment is to. */
export interface Asking {
  readonly id: string
  readonly network: Extract<EgressTell, { t: 'network' }>['network'] | undefined
  readonly shared: { log: (message: string, facts: Record<string, unknown>) => void }
  open(ask: Extract<EgressAsk, { t: 'open' }>, from: Attachment): Connection | undefined
  lookUp(id: number, name: string, from: Attachment): void
}

/** Asks that are answered in one turn of the event loop: a flood from one sandbox must not hold up the others. */
const ASKS_A_TURN = 32

/** Bytes of answers that may wait for a supervisor that does not read them, before its asks are not read either. */
const MAX_WAITING_BYTES = 256 * 1024

/** The stream is opened again when it ends on a link that lives: after 1 s, then twice as long each time, at most 30 s. */
const REOPEN_MS = 1_000
const REOPEN_MAX_MS = 30_000

/**
 * The control stream of one link: asks come in, tells go out. It lives as long as the link, or until `end`. Everything that
 * comes is untrusted: what breaks the form ends the stream, what breaks only its sense is refused.
 */
export class Attachment {
  readonly link: SessionLink
  readonly valve: Valve
  readonly #asking: Asking
  /** Connections that were asked for on this stream and are not over, by the supervisor's ids. */
  readonly #connections = new Map<number, Connection>()
  #stream: ClientHttp2Stream | undefined
  #reopenMs = REOPEN_MS
  #reopening: NodeJS.Timeout | undefined
  #ended = false

  constructor(link: SessionLink, asking: Asking) {
    this.link = link
    this.#asking = asking
    this.valve = new Valve(() => link.backlog)
    void link.closed.then(() => this.end())
    this.#start()
  }

  /** Sends one line. Nothing happens on a stream that is over. */
  tell(tell: EgressTell): void {
    const stream = this.#stream
    if (!stream || stream.destroyed || stream.writableEnded) return
    stream.write(`${JSON.stringify(tell)}\n`)
    if (stream.writableLength > MAX_WAITING_BYTES) stream.pause()
  }

  /** A connection is over: its id means nothing any more. */
  forget(id: number, connection: Connection): void {
    if (this.#connections.get(id) === connection) this.#connections.delete(id)
  }

  /** Nothing is asked here any more; what is open lives on with its own stream. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    clearTimeout(this.#reopening)
    if (this.#stream) resetStream(this.#stream)
    this.#cancelAll()
  }

  #start(): void {
    const stream = startDuplex(this.link, '/egress')
    if (!stream || this.#ended) return
    this.#stream = stream
    let status = 0
    stream.once('response', (headers) => {
      status = headers[':status'] ?? 0
      if (status === 200) this.#read(stream)
      else stream.resume().end()
    })
    stream.once('close', () => {
      this.#stream = undefined
      this.#cancelAll()
      // A supervisor of another version: it has no way out to offer.
      if (status === 404 || this.#ended || !this.link.alive) return
      this.#reopening = setTimeout(() => this.#start(), this.#reopenMs).unref()
      this.#reopenMs = Math.min(REOPEN_MAX_MS, this.#reopenMs * 2)
    })
    const { network } = this.#asking
    if (network) this.tell({ t: 'network', network })
  }

  #read(stream: ClientHttp2Stream): void {
    const lines = new Lines()
    let left: Iterator<string, void, void> | undefined
    const work = () => {
      if (stream.destroyed || this.#ended) return
      try {
        for (let count = 0; count < ASKS_A_TURN; count += 1) {
          const next = left?.next()
          if (!next || next.done) {
            left = undefined
            if (stream.writableLength <= MAX_WAITING_BYTES) stream.resume()
            return
          }
          this.#take(next.value)
        }
      } catch {
        this.#broken(stream)
        return
      }
      setImmediate(work)
    }
    stream.on('data', (chunk: Buffer) => {
      stream.pause()
      left = lines.push(chunk)
      work()
    })
    stream.on('drain', () => {
      if (!left) stream.resume()
    })
    stream.once('end', () => stream.end())
    stream.resume()
  }

  /** @throws SyntaxError for a line that is not JSON, RangeError for an id that is in use. */
  #take(line: string): void {
    const value: unknown = JSON.parse(line)
    const parsed = EgressAskSchema.safeParse(value)
    if (!parsed.success) {
      this.#refuseUnread(value)
      return
    }
    const ask = parsed.data
    if (ask.t === 'name') {
      this.#asking.lookUp(ask.id, ask.name, this)
    } else if (ask.t === 'cancel') {
      this.#connections.get(ask.id)?.cut('cancelled')
    } else {
      if (this.#connections.has(ask.id)) throw new RangeError('an id was used twice')
      const connection = this.#asking.open(ask, this)
      if (connection) this.#connections.set(ask.id, connection)
    }
  }

  /** An ask that means nothing here still gets its answer, if it can be told whose it is. */
  #refuseUnread(value: unknown): void {
    const { t, id } = (value ?? {}) as { t?: unknown; id?: unknown }
    if (typeof id !== 'number' || !Number.isSafeInteger(id) || id < 1) return
    const message = 'What was asked for could not be read.'
    if (t === 'name') this.tell({ t: 'name', id, outcome: 'no_such_name', message })
    if (t === 'open') {
      const error = { kind: 'denied', rule: 'bad_name', message, hint: 'No rule allows it.' } as const
      this.tell({ t: 'refused', id, error })
    }
  }

  #broken(stream: ClientHttp2Stream): void {
    this.#asking.shared.log('a supervisor broke the form of its egress stream', { sandboxId: this.#asking.id })
    if (!stream.destroyed) stream.close(constants.NGHTTP2_PROTOCOL_ERROR)
  }

  #cancelAll(): void {
    const waiting = [...this.#connections.values()]
    this.#connections.clear()
    const end = this.link.alive ? 'cancelled' : 'session_lost'
    for (const connection of waiting) connection.cut(end)
  }
}
