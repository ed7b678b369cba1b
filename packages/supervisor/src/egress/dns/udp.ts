import { createSocket, type SocketOptions } from 'node:dgram'
import type { Opened } from '../listener.ts'
import type { Resolver } from './resolver.ts'

/** Answers on a UDP port of every address: queries come to the resolver's own one and keep it. Rejects when it cannot be bound. */
export function serveUdp(resolver: Resolver, port: number): Promise<Opened> {
  // Every address here is one already. Node's own way to find that out is to load all of `dns`: 0.5 MiB.
  const lookup: SocketOptions['lookup'] = (host, _options, found) => found(null, host, 4)
  const socket = createSocket({ type: 'udp4', lookup })
  socket.on('message', (message, { address, port }) => {
    void resolver
      .answer(message)
      .then((answer) => {
        if (answer && !closed) socket.send(answer, port, address, () => {})
      })
      // A forged sender has a port that nobody can have: `send` throws.
      .catch(() => {})
  })
  let closed = false
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.bind({ port, address: '0.0.0.0' }, () => {
      socket.on('error', () => {})
      resolve({
        port: socket.address().port,
        close: () => {
          closed = true
          socket.close()
        },
      })
    })
  })
}
