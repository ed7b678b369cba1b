import { createServer, request as send } from 'node:http'
import { connect, isIP } from 'node:net'
import { PORTS } from '../addresses.ts'
import type { Journal } from './journal.ts'
import type { Names } from './names.ts'

/** An HTTP proxy of this network: names are the zone's. */
export async function listenProxy(journal: Journal, names: Names): Promise<void> {
  const place = (host: string): string => (isIP(host) ? host : (names.addresses(host)[0] ?? '192.0.2.255'))
  const server = createServer((request, response) => {
    journal.proxied.push(`${request.method} ${request.url}`)
    const { hostname, port, pathname, search } = new URL(request.url ?? '')
    const options = { host: place(hostname), port: port || 80, path: pathname + search, setHost: false }
    const onward = send({ ...options, method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.rawHeaders)
      answer.pipe(response)
    })
    onward.on('error', () => response.destroy())
    request.pipe(onward)
  })
  server.on('connect', (request, socket, head) => {
    journal.proxied.push(`CONNECT ${request.url}`)
    const [, host = '', port = ''] = /^(.*):(\d+)$/.exec(request.url ?? '') ?? []
    const onward = connect({ host: place(host.replace(/^\[|\]$/g, '')), port: Number(port), allowHalfOpen: true })
    onward.on('connect', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      onward.write(head)
      socket.pipe(onward)
      onward.pipe(socket)
    })
    onward.on('error', () => socket.end('HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n'))
    socket.on('error', () => onward.destroy())
  })
  await journal.listen(server, PORTS.proxy)
}
