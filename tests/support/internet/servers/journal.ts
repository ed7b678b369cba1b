import { once } from 'node:events'
import type { Server, Socket } from 'node:net'
import type { Question, Seen, WebRequest } from './protocol.ts'

/** What the servers have seen. */
export class Journal {
  questions: Question[] = []
  requests: WebRequest[] = []
  connections: string[] = []
  proxied: string[] = []
  readonly #open = new Set<Socket>()
  readonly #numbers = new WeakMap<object, number>()
  #next = 0

  /** Listens on a port of all addresses, and writes down every connection. */
  async listen(server: Server, port: number): Promise<void> {
    server.on('connection', (socket: Socket) => {
      this.connections.push(`${plain(socket.localAddress)}:${socket.localPort}`)
      this.#open.add(socket)
      socket.on('close', () => this.#open.delete(socket))
    })
    await once(server.listen(port), 'listening')
  }

  /** The same for the same connection. */
  number(socket: object): number {
    const known = this.#numbers.get(socket) ?? ++this.#next
    this.#numbers.set(socket, known)
    return known
  }

  seen(): Seen {
    const { questions, requests, connections, proxied } = this
    return { questions, requests, connections, proxied, open: this.#open.size }
  }

  forget(): void {
    this.questions = []
    this.requests = []
    this.connections = []
    this.proxied = []
  }
}

/** IPv4 as IPv4 on sockets of both families. */
export function plain(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:/, '')
}
