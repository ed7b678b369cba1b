import type { ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import type { EgressRefusal } from '@coppice/protocol/wire'
import { joinTunnel } from '../session/tunnel.ts'
import type { Asks, Wanted } from './asks.ts'
import { Intake } from './intake.ts'
import { isLoopback, plainAddress } from './listener.ts'
import type { NameTable } from './names.ts'
import { MAX_PLACES, Places } from './places.ts'
import type { Request } from './proxy/dialect.ts'
import { hangUp, proxyIntake, readRequest } from './proxy/serve.ts'

/** Connections of programs: what they want is asked for, and what comes of it is done. */
export class Connections {
  readonly #asks: Asks
  readonly #names: NameTable
  readonly #places = new Places()
  readonly #open = new Set<Socket>()

  constructor(asks: Asks, names: NameTable) {
    this.#asks = asks
    this.#names = names
  }

  /** A connection to the proxy's port. Never throws. */
  readonly proxied = (socket: Socket): void => {
    const place = this.#admit(socket)
    if (place === 'none') return
    // It is for the programs inside, whatever networks the sandbox may have besides.
    if (!isLoopback(plainAddress(socket.remoteAddress))) {
      socket.resetAndDestroy()
      return
    }
    const intake = proxyIntake(socket)
    void readRequest(socket, intake)
      .then((request) => {
        if (request) this.#serve(request, socket, intake, place)
      })
      // Whatever a program has sent, it is one connection that ends, not the supervisor.
      .catch(() => socket.destroy())
  }

  /** A connection that was led here on its way to `port` of its own address. Never throws. */
  intercepted(socket: Socket, port: number): void {
    const place = this.#admit(socket)
    if (place === 'none') return
    const host = plainAddress(socket.localAddress)
    // Somebody inside who dials the supervisor's port itself wants to go nowhere.
    const astray = host === '' || isLoopback(host)
    const wanted = astray ? undefined : this.#named({ via: 'transparent', host, port, exec: null })
    const refuse = () => {
      socket.resetAndDestroy()
    }
    if (wanted && place === 'ok') {
      this.#ask(wanted, socket, new Intake(socket, 0), { accepted: NOTHING, cancelAtEnd: false, refuse })
    } else refuse()
  }

  /** A connection that is served in some other way, but counts. False: it must not be served. */
  counted(socket: Socket): boolean {
    const place = this.#admit(socket)
    if (place === 'full') socket.resetAndDestroy()
    return place === 'ok'
  }

  /** Cuts all there are. */
  close(): void {
    for (const socket of this.#open) socket.resetAndDestroy()
  }

  #admit(socket: Socket): 'ok' | 'full' | 'none' {
    const place = this.#places.take(socket)
    if (place === 'none') return place
    this.#open.add(socket)
    socket.once('close', () => this.#open.delete(socket))
    return place
  }

  #serve({ wanted, accepted, refusal }: Request, socket: Socket, intake: Intake, place: 'ok' | 'full'): void {
    const refuse = (why: EgressRefusal) => {
      intake.release()
      hangUp(socket, refusal(why))
    }
    const named = this.#named(wanted)
    if (place === 'full') refuse(FULL)
    else if (!named) refuse(UNKNOWN_ADDRESS)
    // Whoever waits for an answer has gone when he ends his side; a plain request may well be all that will be sent.
    else this.#ask(named, socket, intake, { accepted, cancelAtEnd: named.via !== 'http', refuse })
  }

  #ask(
    wanted: Wanted,
    socket: Socket,
    intake: Intake,
    on: { accepted: Buffer; cancelAtEnd: boolean; refuse: (refusal: EgressRefusal) => void },
  ): void {
    const cancel = this.#asks.open(wanted, {
      reached: (stream) => this.#reached(stream, socket, intake, on.accepted),
      refused: on.refuse,
    })
    intake.whenGone(on.cancelAtEnd, () => {
      cancel()
      socket.destroy()
    })
  }

  #reached(stream: ServerHttp2Stream, socket: Socket, intake: Intake, accepted: Buffer): void {
    const early = intake.release()
    if (!stream.destroyed) stream.respond({ ':status': 200, 'content-type': 'application/octet-stream' })
    if (accepted.length > 0) socket.write(accepted)
    joinTunnel(stream, socket, early)
  }

  /** What is wanted, with the name that an address stands for. Undefined: nobody was given that address. */
  #named(wanted: Wanted): Wanted | undefined {
    const meaning = this.#names.meaningOf(wanted.host)
    if (meaning.is === 'unknown') return undefined
    return meaning.is === 'name' ? { ...wanted, host: meaning.name } : wanted
  }
}

const NOTHING = Buffer.alloc(0)

const FULL: EgressRefusal = {
  kind: 'limit',
  rule: 'max_connections',
  message: `The sandbox has ${MAX_PLACES} connections open.`,
  hint: 'Close some.',
}

const UNKNOWN_ADDRESS: EgressRefusal = {
  kind: 'unreachable',
  rule: 'unknown_address',
  message: 'Addresses of this range stand for names, and this one stands for none (any more).',
  hint: 'Resolve the name again.',
}
