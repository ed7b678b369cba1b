import type { ServerHttp2Stream } from 'node:http2'
import type { EgressAsk, EgressRefusal, EgressTell } from '@coppice/protocol/wire'
import type { ControlStream } from './control.ts'

/**
 * Milliseconds that the gateway has for an answer. Its own limits, for resolving and for connecting, are much shorter: this is
 * for one that has lost track.
 */
const ANSWER_MS = 60_000

/** A connection that a program wants. */
export type Wanted = Omit<Extract<EgressAsk, { t: 'open' }>, 't' | 'id'>

/** What comes of a wanted connection: exactly one of these is called, unless it is cancelled before. */
export interface Opening {
  /** It is made; the stream carries it. Nothing has been answered on the stream yet. */
  reached(stream: ServerHttp2Stream): void
  refused(refusal: EgressRefusal): void
}

export type NameOutcome = Extract<EgressTell, { t: 'name' }>['outcome']

interface Ask {
  /** Undefined while no gateway has been asked. */
  id: number | undefined
  timer: NodeJS.Timeout | undefined
  readonly line: (id: number) => EgressAsk
  readonly reached?: (stream: ServerHttp2Stream) => void
  readonly refused: (refusal: EgressRefusal) => void
  readonly named?: (outcome: NameOutcome, message: string) => void
}

/**
 * Questions to the gateway. One that is not answered when its link is lost is asked again on the next: nothing has happened
 * for the program yet. How many there are is bounded by who asks.
 */
export class Asks {
  readonly #boundMs: number
  readonly #asked = new Map<number, Ask>()
  readonly #waiting = new Set<Ask>()
  #control: ControlStream | undefined
  #lastId = 0

  /** `boundMs`: how long a question waits for a link. */
  constructor(boundMs: number) {
    this.#boundMs = boundMs
  }

  /** Asks for a connection. The function that comes back cancels it: nobody wants it any more. */
  open(wanted: Wanted, opening: Opening): () => void {
    const ask = this.#add({
      id: undefined,
      timer: undefined,
      line: (id) => ({ t: 'open', id, ...wanted }),
      reached: (stream) => opening.reached(stream),
      refused: (refusal) => opening.refused(refusal),
    })
    return () => {
      const { id } = ask
      if (this.#remove(ask) && id !== undefined) this.#control?.send({ t: 'cancel', id })
    }
  }

  /** Asks whether a name exists, and may. */
  name(name: string): Promise<{ outcome: NameOutcome; message: string }> {
    return new Promise((resolve) => {
      this.#add({
        id: undefined,
        timer: undefined,
        line: (id) => ({ t: 'name', id, name }),
        refused: ({ message }) => resolve({ outcome: 'failed', message }),
        named: (outcome, message) => resolve({ outcome, message }),
      })
    })
  }

  /** From now on the gateway is asked here. */
  attach(control: ControlStream): void {
    this.#unask()
    this.#control = control
    for (const ask of [...this.#waiting]) this.#send(ask)
  }

  /** A control stream has ended. */
  detach(control: ControlStream): void {
    if (this.#control !== control) return
    this.#control = undefined
    this.#unask()
  }

  /** The gateway has answered. Answers to what nobody asks are passed over. */
  answered(tell: Extract<EgressTell, { t: 'refused' | 'name' }>): void {
    const ask = this.#asked.get(tell.id)
    if (!ask) return
    if (tell.t === 'refused') {
      this.#remove(ask)
      ask.refused(checkedRefusal(tell.error))
    } else if (ask.named) {
      this.#remove(ask)
      ask.named(tell.outcome, String(tell.message ?? ''))
    }
  }

  /** The gateway has made a connection. False when nobody wants it (any more). */
  reached(id: number, stream: ServerHttp2Stream): boolean {
    const ask = this.#asked.get(id)
    if (!ask?.reached) return false
    this.#remove(ask)
    ask.reached(stream)
    return true
  }

  /** Refuses everything that is open. */
  close(): void {
    this.#control = undefined
    for (const ask of [...this.#asked.values(), ...this.#waiting]) this.#fail(ask, noSession('The sandbox is ending.'))
  }

  #add(ask: Ask): Ask {
    if (this.#control) this.#send(ask)
    else this.#wait(ask)
    return ask
  }

  #send(ask: Ask): void {
    this.#remove(ask)
    const id = ++this.#lastId
    ask.id = id
    this.#asked.set(id, ask)
    ask.timer = setTimeout(() => this.#fail(ask, LATE), ANSWER_MS)
    // Not within the caller's own call: it does not have what it would cancel by yet.
    if (!this.#control?.send(ask.line(id)))
      setImmediate(() => this.#fail(ask, noSession('The gateway does not answer.')))
  }

  #wait(ask: Ask): void {
    this.#remove(ask)
    this.#waiting.add(ask)
    const seconds = Math.round(this.#boundMs / 1000)
    const message = `The sandbox has had no session with its gateway for ${seconds} s.`
    ask.timer = setTimeout(() => this.#fail(ask, noSession(message)), this.#boundMs)
  }

  #unask(): void {
    for (const ask of [...this.#asked.values()]) this.#wait(ask)
  }

  #fail(ask: Ask, refusal: EgressRefusal): void {
    if (this.#remove(ask)) ask.refused(refusal)
  }

  /** False when it was not there: it has been answered. */
  #remove(ask: Ask): boolean {
    clearTimeout(ask.timer)
    const asked = ask.id !== undefined && this.#asked.delete(ask.id)
    ask.id = undefined
    return this.#waiting.delete(ask) || asked
  }
}

const LATE: EgressRefusal = {
  kind: 'timeout',
  rule: 'no_answer',
  message: `The gateway has not answered for ${ANSWER_MS / 1000} s.`,
  hint: 'coppice gateway status',
}

function noSession(message: string): EgressRefusal {
  return { kind: 'limit', rule: 'no_session', message, hint: 'Try again; on the host: coppice gateway status' }
}

const KINDS: readonly string[] = ['denied', 'unreachable', 'refused', 'timeout', 'no_such_name', 'limit']

/** What a gateway of another version may say is made what this one knows. */
function checkedRefusal(value: unknown): EgressRefusal {
  const { kind, rule, message, hint } = (value ?? {}) as Partial<EgressRefusal>
  return {
    kind: KINDS.includes(kind as string) ? (kind as EgressRefusal['kind']) : 'unreachable',
    rule: String(rule ?? ''),
    message: String(message ?? 'The gateway refused.'),
    hint: String(hint ?? ''),
  }
}
