import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'

export interface Answer {
  status: number
  headers: IncomingMessage['headers']
  rawHeaders: string[]
  rawTrailers: string[]
  body: Buffer
  text: string
}

export interface Ask {
  port: number
  host: string
  path?: string
  method?: string
  headers?: string[]
  body?: Buffer | string
  agent?: http.Agent
}

/** One request as a client makes it, and the whole answer. */
export async function ask({ port, host, path = '/', method = 'GET', headers = [], body, agent }: Ask): Promise<Answer> {
  const request = http.request({
    port,
    path,
    method,
    headers: ['Host', host, ...headers],
    ...(agent ? { agent } : { agent: false }),
  })
  // Once it was answered, the answer tells.
  request.on('error', () => {})
  request.end(body)
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk as Buffer)
  const whole = Buffer.concat(chunks)
  return {
    status: answer.statusCode ?? 0,
    headers: answer.headers,
    rawHeaders: answer.rawHeaders,
    rawTrailers: answer.rawTrailers,
    body: whole,
    text: whole.toString(),
  }
}

/** Everything that comes on a connection until its end. Not an iterator: that would end the other direction too. */
export function readAll(socket: Duplex): Promise<string> {
  const chunks: Buffer[] = []
  return new Promise((resolve, reject) => {
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.once('end', () => resolve(Buffer.concat(chunks).toString('latin1')))
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('the connection was closed before its end')))
  })
}

/** What comes on a connection until `wanted` was in it. */
export async function readUntil(socket: Duplex, wanted: string): Promise<string> {
  let text = ''
  while (!text.includes(wanted)) {
    const [chunk] = (await once(socket, 'data')) as [Buffer]
    text += chunk.toString('latin1')
  }
  return text
}
