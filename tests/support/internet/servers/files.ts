import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join, normalize } from 'node:path'
import { pipeline } from 'node:stream/promises'

const KINDS: Record<string, string> = { html: 'text/html', json: 'application/json' }

/** The files of a host: `<folder>/<host>/<path>`; of a folder its `index.html`, else its `index.json`. */
export async function serveFile(request: IncomingMessage, response: ServerResponse, folder: string): Promise<void> {
  const host = (request.headers.host ?? '').replace(/:\d+$/, '')
  const { pathname } = new URL(request.url ?? '/', 'http://unknown')
  const path = join(folder, host, normalize(decodeURIComponent(pathname)))
  for (const file of [path, join(path, 'index.html'), join(path, 'index.json')]) {
    const found = await stat(file).catch(() => undefined)
    if (!found?.isFile()) continue
    const kind = KINDS[file.slice(file.lastIndexOf('.') + 1)] ?? 'application/octet-stream'
    response.writeHead(200, { 'content-type': kind, 'content-length': found.size })
    if (request.method === 'HEAD') return void response.end()
    return pipeline(createReadStream(file), response)
  }
  response.writeHead(404).end('not here\n')
}
