import { createHash } from 'node:crypto'
import { createServer, type Socket } from 'node:net'
import { PORTS } from '../addresses.ts'
import { bytes } from '../data.ts'
import type { Journal } from './journal.ts'

const BANNERS = { [PORTS.banner]: 'SSH-2.0-fake\r\n', [PORTS.smtp]: '220 mail.example.test ESMTP\r\n' }

/** Ports that speak no HTTP. */
export async function listenRaw(journal: Journal): Promise<void> {
  const serve = async (port: number, talk: (socket: Socket) => void): Promise<void> => {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {})
      talk(socket)
    })
    await journal.listen(server, port)
  }
  await serve(PORTS.echo, (socket) => socket.pipe(socket))
  await serve(PORTS.silent, (socket) => socket.pause())
  for (const [port, banner] of Object.entries(BANNERS)) {
    await serve(Number(port), (socket) => {
      socket.write(banner)
      socket.pipe(socket)
    })
  }
  await serve(PORTS.flood, (socket) => {
    const endless = bytes(0, Number.MAX_SAFE_INTEGER)
    const pump = (): void => {
      while (!socket.destroyed && socket.write(endless.next().value as Buffer));
    }
    socket.on('drain', pump)
    // Its end of the other direction is not waited for.
    socket.on('end', () => socket.destroy()).resume()
    pump()
  })
  await serve(PORTS.digest, (socket) => {
    const hash = createHash('sha256')
    socket.on('data', (chunk) => hash.update(chunk))
    socket.on('end', () => socket.end(hash.digest('hex')))
  })
  await serve(PORTS.reset, (socket) => socket.once('data', () => socket.resetAndDestroy()))
}
