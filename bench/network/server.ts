/** A process of its own that answers `echo` with a line and `send N` with N bytes and its end. Prints its port on loopback. */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'

const CHUNK = Buffer.alloc(256 * 1024, 'c')

const server = createServer((socket) => {
  socket.setNoDelay(true)
  socket.on('error', () => {})
  socket.on('data', (line) => {
    const [word, amount] = line.toString().trim().split(' ')
    if (word === 'send') void send(socket, Number(amount))
    else socket.write('here\n')
  })
})

async function send(socket: Socket, bytes: number): Promise<void> {
  for (let left = bytes; left > 0 && !socket.destroyed; ) {
    const piece = left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK
    left -= piece.length
    if (!socket.write(piece)) await once(socket, 'drain')
  }
  socket.end()
}

server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port))
