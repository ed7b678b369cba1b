import type { ClientHttp2Stream } from 'node:http2'
import type { Connection } from '../connection.ts'
import type { Attachment } from '../control/attachment.ts'
import type { Asked, Outbound } from '../outbound.ts'
import { recordOf } from '../outbound.ts'
import type { Judge } from '../policy/judge.ts'
import { NotReached } from '../reach.ts'
import type { SandboxEgress } from '../sandbox.ts'
import { resetStream, startDuplex, streamInside } from '../session-link.ts'
import { cutSocket } from './cut-socket.ts'
import { Join } from './join.ts'

/** A connection that programs speak their own protocol on: it is reached first, then joined with a stream of the session. */
export class TunnelConnection implements Connection {
  readonly #sandbox: SandboxEgress
  readonly #from: Attachment
  readonly #id: number
  readonly #asked: Asked
  readonly #gaveUp = new AbortController()
  #outbound: Outbound | undefined
  #stream: ClientHttp2Stream | undefined
  /** When the supervisor was told, as `performance.now()`. */
  #toldAt: number | undefined
  #join: Join | undefined
  #over = false

  constructor(sandbox: SandboxEgress, from: Attachment, id: number, asked: Asked) {
    this.#sandbox = sandbox
    this.#from = from
    this.#id = id
    this.#asked = asked
    sandbox.connections.add(this)
    void this.#run()
  }

  cut(end: string): void {
    if (this.#over) return
    if (this.#join) {
      // A join that stands is not the asker's to cancel: it ends with its own stream.
      if (end !== 'cancelled') this.#join.cut(end)
      return
    }
    if (this.#outbound) {
      cutSocket(this.#outbound.socket)
    } else {
      this.#sandbox.counters.failed += 1
      const { rule } = this.#sandbox.judge.host(this.#asked.host, this.#asked.port)
      this.#sandbox.log.happened({ ...recordOf(this.#asked), verdict: 'failed', rule, endedAt: Date.now(), end })
    }
    if (this.#stream) resetStream(this.#stream)
    this.#finish(end)
  }

  rejudge(judge: Judge): void {
    // What is still being reached is judged again when it was.
    if (this.#outbound && !this.#outbound.judged(judge).ok) this.cut('policy')
  }

  sweep(now: number): void {
    if (this.#join) this.#join.sweep(now)
    else if (this.#toldAt !== undefined && now - this.#toldAt > this.#sandbox.shared.limits.firstBytesMs) {
      this.cut('unanswered')
    }
  }

  async #run(): Promise<void> {
    try {
      const outbound = await this.#sandbox.reach(this.#asked, 'tunnel', this.#gaveUp.signal)
      if (this.#over) cutSocket(outbound.socket)
      if (this.#over) this.#sandbox.ended(outbound, 'cancelled')
      else this.#tell(outbound)
    } catch (error) {
      if (this.#over) return
      if (error instanceof NotReached) {
        this.#from.tell({ t: 'refused', id: this.#id, error: error.refusal })
        this.#finish(error.end)
        return
      }
      this.#sandbox.shared.log('a connection was not made', { sandboxId: this.#sandbox.id, error })
      const refusal = {
        kind: 'unreachable',
        rule: 'internal',
        message: 'The gateway failed.',
        hint: 'See its log.',
      } as const
      this.#from.tell({ t: 'refused', id: this.#id, error: refusal })
      this.cut('internal')
    }
  }

  #tell(outbound: Outbound): void {
    this.#outbound = outbound
    const { socket } = outbound
    const stream = startDuplex(this.#from.link, `/egress/${this.#id}`)
    if (!stream) {
      this.cut('session_lost')
      return
    }
    this.#stream = stream
    this.#toldAt = performance.now()
    const onGone = () => this.cut(this.#from.link.alive ? 'reset' : 'session_lost')
    stream.once('close', onGone)
    socket.once('close', onGone)
    stream.once('response', (headers) => {
      stream.off('close', onGone)
      socket.off('close', onGone)
      if (this.#over) return
      // 404: its program went away while the connection was made.
      if (headers[':status'] === 200) this.#joined(stream, outbound)
      else this.cut('cancelled')
    })
  }

  #joined(stream: ClientHttp2Stream, outbound: Outbound): void {
    const { host } = this.#asked
    this.#join = new Join(streamInside(stream, this.#from.link), outbound.socket, {
      name: host.kind === 'name' ? host.name : null,
      ahead: this.#sandbox.ahead,
      valve: this.#from.valve,
      limits: this.#sandbox.shared.limits,
      onEnd: (end, refused) => this.#finish(end, refused?.rule),
    })
  }

  #finish(end: string, deniedBy?: string): void {
    if (this.#over) return
    this.#over = true
    this.#gaveUp.abort()
    this.#from.forget(this.#id, this)
    this.#sandbox.connections.delete(this)
    if (this.#outbound) this.#sandbox.ended(this.#outbound, end, deniedBy)
  }
}
