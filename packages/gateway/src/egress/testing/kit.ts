import { once } from 'node:events'
import { type IncomingHttpHeaders, type IncomingMessage, type RequestOptions, request as startRequest } from 'node:http'
import type { ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { NetworkPolicy } from '@coppice/protocol'
import { onTestFinished } from 'vitest'
import { NameServer, type Zone } from './name-server.ts'
import { collect, Place, type PlaceOptions } from './place.ts'
import { World } from './servers.ts'

/** Code of a reset. */
export const CANCEL = 8

// What is made here goes with the test that made it, the last one first. Not by a hook of this module: files that share a worker
// load it once, and the hook would be the first file's alone.

export function world(): World {
  const made = new World()
  onTestFinished(() => made.close())
  return made
}

export async function names(zone: Zone, ttl?: number): Promise<NameServer> {
  const server = await NameServer.start(zone, ttl)
  onTestFinished(() => server.close())
  return server
}

export async function place(options: PlaceOptions = {}): Promise<Place> {
  const made = await Place.start(options)
  onTestFinished(() => made.close())
  return made
}

export function allow(...rules: string[]): NetworkPolicy {
  return { mode: 'allow', allow: rules }
}

export function local(port: number): string {
  return `127.0.0.1:${port}`
}

export function echo(socket: Socket): void {
  socket.on('data', (chunk) => socket.write(chunk)).once('end', () => socket.end())
}

export async function firstData(stream: ServerHttp2Stream): Promise<string> {
  stream.resume()
  const [chunk] = (await once(stream, 'data')) as [Buffer]
  stream.pause()
  return chunk.toString()
}

/** A connection to the proxy for plain requests. */
export function plain(box: Place): Promise<ServerHttp2Stream> {
  return box.supervisor.tunnel({ via: 'http' })
}

export interface Got {
  status: number
  headers: IncomingHttpHeaders
  body: string
  trailers: Record<string, string | undefined>
}

export async function read(response: IncomingMessage): Promise<Got> {
  const chunks: Buffer[] = []
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk)
  const { statusCode = 0, headers, trailers } = response
  return { status: statusCode, headers, body: Buffer.concat(chunks).toString(), trailers }
}

/** A request as a program sends it to the proxy, by Node's own client. */
export async function ask(
  stream: Duplex,
  url: string,
  options: RequestOptions = {},
  body?: string | Buffer,
): Promise<Got> {
  const request = startRequest({
    createConnection: () => stream as Socket,
    host: 'proxy',
    path: url,
    ...options,
    headers: { host: 'ignored.example', ...(options.headers as Record<string, string>) },
  })
  request.end(body)
  stream.resume()
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return read(response)
}

/** What comes back for bytes on the proxy for plain requests. */
export async function raw(box: Place, bytes: string): Promise<string> {
  const stream = await plain(box)
  stream.write(bytes)
  const { bytes: answer } = await collect(stream)
  stream.end()
  return answer.toString('latin1')
}
