import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'

/**
 * A socket whose writes are done when they are handed over, as a gateway's end has it: two ends of a session that both wait for
 * their writes stand still when both have bulk to send.
 */
export function eager(socket: Socket): Duplex {
  const duplex = new Duplex({
    read: () => {
      socket.resume()
    },
    write: (chunk, _encoding, done) => {
      socket.write(chunk)
      done()
    },
    final: (done) => {
      socket.end()
      done()
    },
    destroy: (error, done) => {
      socket.destroy()
      done(error)
    },
  })
  socket.on('data', (chunk) => {
    if (!duplex.push(chunk)) socket.pause()
  })
  socket.once('end', () => duplex.push(null)).once('close', () => duplex.destroy())
  return duplex
}
