import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { TLSSocket } from 'node:tls'
import { PORTS } from '../addresses.ts'
import { bytes } from '../data.ts'
import { serveFile } from './files.ts'
import { serveGit } from './git.ts'
import type { Journal } from './journal.ts'
import { plain } from './journal.ts'

/**
 * Web servers on all addresses, for every host name. Paths: `/bytes/N` (length known, ranges), `/chunked/N`, `/echo`, `/upload`
 * (count and hash), `/headers`, `/status/CODE`, `/redirect?to=URL`, `/drip/N` (events, 50 ms apart), `/late/MS`, `/stuck` (begins
 * and never ends), `/mute` (never answers), `/cut/N` (reset half-way).
 */
export async function listenWeb(
  journal: Journal,
  options: { key: string; certificate: string; folder: string },
): Promise<void> {
  const listener = handler(journal, options.folder)
  const { key, certificate: cert } = options
  for (const port of [PORTS.http, PORTS.http2]) await journal.listen(createServer(listener), port)
  for (const port of [PORTS.https, PORTS.https2])
    await journal.listen(createSecureServer({ key, cert, ciphers: CIPHERS }, listener), port)
}

function handler(journal: Journal, folder: string): RequestListener {
  return (request, response) => {
    const socket = request.socket as TLSSocket
    const host = (request.headers.host ?? '').replace(/:\d+$/, '')
    journal.requests.push({
      method: request.method ?? '',
      url: request.url ?? '',
      host: request.headers.host ?? '',
      rawHeaders: request.rawHeaders,
      serverName: socket.encrypted ? (socket.servername ?? false) : null,
      to: `${plain(socket.localAddress)}:${socket.localPort}`,
      connection: journal.number(socket),
    })
    const served = host === 'git.example.test' ? serveGit : host in PACKAGE_HOSTS ? serveFile : serve
    served(request, response, folder).catch(() => response.destroy())
  }
}

/** busybox names no signature algorithms, which makes it SHA-1: refused from level 1 on. */
const CIPHERS = 'DEFAULT:@SECLEVEL=0'

/** Hosts whose files are in a folder of the same name. */
const PACKAGE_HOSTS: Record<string, true> = {
  'deb.example.test': true,
  'pypi.example.test': true,
  'npm.example.test': true,
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://unknown')
  const [, what = '', argument = ''] = url.pathname.split('/')
  const number = Number(argument)
  switch (what) {
    case '':
      return void response.end(`hello from ${request.headers.host}\n`)
    case 'bytes':
      return sendBytes(request, response, number)
    case 'chunked':
      return pipeline(Readable.from(bytes(0, number)), response)
    case 'echo':
      return pipeline(request, response)
    case 'upload': {
      const hash = createHash('sha256')
      let size = 0
      for await (const chunk of request as AsyncIterable<Buffer>) {
        hash.update(chunk)
        size += chunk.length
      }
      return void response.end(JSON.stringify({ bytes: size, sha256: hash.digest('hex') }))
    }
    case 'headers':
      return void response.end(JSON.stringify({ url: request.url, rawHeaders: request.rawHeaders }))
    case 'status':
      return void response.writeHead(number).end(`status ${number}\n`)
    case 'redirect':
      return void response.writeHead(302, { location: url.searchParams.get('to') ?? '/' }).end()
    case 'drip':
      return drip(response, number)
    case 'late':
      return void setTimeout(() => response.end('late\n'), number)
    case 'stuck':
      // Headers and a first piece, then nothing for ever.
      return void response.write('begun\n')
    case 'mute':
      // Not even headers.
      return
    case 'cut':
      // Says twice as much as comes, then resets.
      response.writeHead(200, { 'content-length': number * 2 })
      for (const piece of bytes(0, number)) response.write(piece)
      return void setImmediate(() => request.socket.resetAndDestroy())
    default:
      response.writeHead(404).end('not here\n')
  }
}

async function sendBytes(request: IncomingMessage, response: ServerResponse, length: number): Promise<void> {
  const [, from = '0', to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
  const start = Number(from)
  const end = to ? Math.min(Number(to) + 1, length) : length
  const partial = request.headers.range ? { 'content-range': `bytes ${start}-${end - 1}/${length}` } : {}
  const headers = { 'content-length': end - start, 'accept-ranges': 'bytes', ...partial }
  response.writeHead(request.headers.range ? 206 : 200, headers)
  if (request.method === 'HEAD') return void response.end()
  await pipeline(Readable.from(bytes(start, end), { objectMode: true, highWaterMark: 4 }), response)
}

/** One line each 50 ms. */
async function drip(response: ServerResponse, lines: number): Promise<void> {
  response.setHeader('content-type', 'text/event-stream')
  for (let line = 0; line < lines; line++) {
    response.write(`data: ${line}\n\n`)
    await new Promise((done) => setTimeout(done, 50))
  }
  response.end()
}
