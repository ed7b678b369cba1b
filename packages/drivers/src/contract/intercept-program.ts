/** What a program in the sandbox listens on, and whom it then speaks to. */
export interface Conversation {
  /** TCP and UDP ports, on all addresses. */
  listen: number[]
  /** `ADDRESS:PORT`, TCP. */
  connect?: string[]
  /** `ADDRESS:PORT`, UDP. */
  ask?: string[]
  /** Names to look up, by whom wants IPv4 addresses and only if there is IPv4 here. */
  lookUp?: string[]
}

/** For each address spoken to: the address and port that the listener saw as its own; for each name: its address; or the error code. */
export type Heard = Record<string, string>

/** The arguments that run a conversation with the Node of the runtime bundle. It prints `Heard` as JSON. */
export function conversation(talk: Conversation): string[] {
  const node = ['/.coppice/ld.so', '--library-path', '/.coppice/lib', '/.coppice/coppice-supervisor']
  return [...node, '--input-type=module', '-e', PROGRAM, JSON.stringify(talk)]
}

const PROGRAM = `
import { createSocket } from 'node:dgram'
import { ADDRCONFIG, lookup } from 'node:dns'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'

const { listen, connect: tcp = [], ask: udp = [], lookUp = [] } = JSON.parse(process.argv[1])
const heard = {}
for (const port of listen) {
  const server = createServer((socket) => socket.on('error', () => {}).end(socket.localAddress + ':' + socket.localPort))
  await once(server.listen(port, '0.0.0.0'), 'listening')
  const socket = createSocket('udp4')
  socket.on('message', (_, from) => socket.send('udp:' + port, from.port, from.address))
  socket.bind(port, '0.0.0.0')
  await once(socket, 'listening')
}
const parts = (target) => target.split(':')
for (const target of tcp) {
  const [host, port] = parts(target)
  heard[target] = await new Promise((resolve) => {
    let text = ''
    const socket = connect({ host, port: Number(port), timeout: 3000 })
    socket.on('data', (chunk) => (text += chunk))
    socket.on('timeout', () => socket.destroy(Object.assign(new Error(), { code: 'TIMEOUT' })))
    socket.on('error', ({ code }) => resolve(code))
    socket.on('end', () => resolve(text))
  })
}
for (const target of udp) {
  const [host, port] = parts(target)
  heard[target] = await new Promise((resolve) => {
    const socket = createSocket('udp4')
    socket.connect(Number(port), host, () => socket.send('?'))
    socket.on('message', (text) => resolve(String(text)))
    socket.on('error', ({ code }) => resolve(code))
    setTimeout(() => resolve('TIMEOUT'), 3000)
  })
}
for (const name of lookUp) {
  heard[name] = await new Promise((resolve) =>
    lookup(name, { family: 4, hints: ADDRCONFIG }, (error, address) => resolve(error?.code ?? address)),
  )
}
console.log(JSON.stringify(heard))
process.exit()
`
