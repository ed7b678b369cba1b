/**
 * The program that is measured, on the host and in a sandbox: it connects to a server of server.ts, directly or through the HTTP proxy of
 * its environment, and prints one line of JSON.
 * Usage: client.ts ADDRESS PORT download BYTES | connect COUNT | request COUNT | hold COUNT
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

const [address = '', port = '', what = '', amount = ''] = process.argv.slice(2)
const proxy = process.env.http_proxy ? new URL(process.env.http_proxy) : undefined

/** A connection to the server, through the proxy where there is one. */
async function open(): Promise<Socket> {
  const socket = proxy ? connect(Number(proxy.port), proxy.hostname) : connect(Number(port), address)
  socket.setNoDelay(true)
  await once(socket, 'connect')
  if (!proxy) return socket
  socket.write(`CONNECT ${address}:${port} HTTP/1.1\r\nHost: ${address}:${port}\r\n\r\n`)
  const [head] = (await once(socket, 'data')) as [Buffer]
  if (!head.toString().startsWith('HTTP/1.1 200')) throw new Error(head.toString())
  return socket
}

async function timed(count: number, work: () => Promise<void>): Promise<number[]> {
  const samples: number[] = []
  for (let run = 0; run < count; run += 1) {
    const start = performance.now()
    await work()
    samples.push(performance.now() - start)
  }
  return samples
}

async function ask(socket: Socket): Promise<void> {
  socket.write('echo\n')
  await once(socket, 'data')
}

if (what === 'download') {
  const socket = await open()
  const start = performance.now()
  socket.write(`send ${amount}\n`)
  let bytes = 0
  socket.on('data', (chunk) => {
    bytes += chunk.length
  })
  await once(socket, 'end')
  if (bytes !== Number(amount)) throw new Error(`${bytes} of ${amount} bytes came`)
  console.log(JSON.stringify({ milliseconds: performance.now() - start }))
} else if (what === 'connect') {
  const work = async () => {
    const socket = await open()
    await ask(socket)
    socket.destroy()
  }
  await timed(20, work)
  console.log(JSON.stringify({ samples: await timed(Number(amount), work) }))
} else if (what === 'request') {
  const socket = await open()
  await timed(50, () => ask(socket))
  console.log(JSON.stringify({ samples: await timed(Number(amount), () => ask(socket)) }))
  socket.destroy()
} else if (what === 'hold') {
  const held: Socket[] = []
  for (let count = 0; count < Number(amount); count += 1) held.push(await open())
  for (const socket of held) await ask(socket)
  console.log(JSON.stringify({ held: held.length }))
  process.stdin.resume()
  await once(process.stdin, 'end')
  process.exit(0)
}
