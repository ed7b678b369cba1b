import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { CoppiceError, httpStatus, type ImageEvent, type ImageInfo } from '@coppice/protocol/wire'

/** One request as it arrived. */
export interface ImageCall {
  /** `pull`, `import`, …; `create` for a sandbox. */
  what: string
  query: URLSearchParams
  /** All that came of the body. */
  body: Buffer
  /** False when it was cut off. */
  whole: boolean
}

/** What the next call of a kind does. */
export interface ImageFault {
  /** Refused with this error before the body is read. */
  refuse?: CoppiceError
  /** Events that come first, at once. */
  events?: ImageEvent[]
  /** The last event instead of `done`. */
  error?: CoppiceError
  /** The connection is cut after the events. */
  cut?: boolean
  /** No end comes; with an abort the client goes away. */
  hang?: boolean
}

/** A real server that answers for the image store: names and calls are remembered, archives are what they are told to be. */
export class FakeImages {
  readonly token = 'fake-token'
  readonly calls: ImageCall[] = []
  readonly names = new Set(['base'])
  /** Ids of checkpoints by name. */
  readonly checkpoints = new Map<string, string>()
  readonly faults = new Map<string, ImageFault>()
  /** What an export gives. */
  archive: Buffer = Buffer.alloc(0)
  /** Digest of the archive that it has imported before; all others look as if they might be that one. */
  knownArchive: string | undefined
  /** The name that an import finds in its archive. */
  archiveName: string | undefined
  #server = http.createServer()

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async start(): Promise<this> {
    this.#server = http.createServer((request, response) => void this.#answer(request, response))
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return this
  }

  stop(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }

  /** The calls of one kind. */
  of(what: string): ImageCall[] {
    return this.calls.filter((call) => call.what === what)
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '', 'http://x')
    const what = whatIs(request.method ?? '', url.pathname)
    const call: ImageCall = { what, query: url.searchParams, body: Buffer.alloc(0), whole: false }
    this.calls.push(call)
    const fault = this.faults.get(what) ?? {}
    this.faults.delete(what)
    if (fault.refuse) {
      refuse(response, fault.refuse)
      return
    }
    if (fault.events) for (const event of fault.events) response.write(`${JSON.stringify(event)}\n`)
    const chunks: Buffer[] = []
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer)
      call.whole = true
    } catch {
      // Cut off: what came is remembered.
    }
    call.body = Buffer.concat(chunks)
    if (!call.whole || fault.hang) return
    if (fault.cut && what === 'export') {
      response.writeHead(200, { 'content-length': this.archive.length })
      const half = this.archive.subarray(0, this.archive.length / 2)
      response.write(half, () => response.socket?.resetAndDestroy())
    } else if (fault.cut) response.write('{"event":"pro', () => response.socket?.resetAndDestroy())
    else if (fault.error) end(response, { event: 'error', error: { ...fault.error.toBody() } })
    else this.#serve(call, response)
  }

  #serve({ what, query, body }: ImageCall, response: ServerResponse): void {
    switch (what) {
      case 'list':
        response.end(JSON.stringify({ images: [...this.names].map(imageNamed), skipped: [] }))
        return
      case 'pull': {
        const { source, name = source } = JSON.parse(body.toString()) as { source: string; name?: string }
        this.#done(response, name, { bytes: 7 })
        return
      }
      case 'import':
        this.#done(response, query.get('name') ?? this.archiveName ?? query.get('fallbackName') ?? 'image')
        return
      case 'known': {
        const { digest, name = 'known:1' } = JSON.parse(body.toString()) as { digest?: string; name?: string }
        if (this.knownArchive === undefined) refuse(response, new CoppiceError('not_found', 'no_route', what))
        else if (digest === undefined) response.end('{"known":true}')
        else if (digest !== this.knownArchive) response.end('{"known":false}')
        else response.end(JSON.stringify({ known: true, image: imageNamed(name) }))
        return
      }
      case 'build':
        this.#done(response, query.get('name') ?? '')
        return
      case 'push':
        end(response, { event: 'done', image: null, facts: { file: '/tmp/x.tar' } })
        return
      case 'remove': {
        const ref = query.get('ref') ?? ''
        if (this.names.delete(ref)) response.end('{}')
        else refuse(response, new CoppiceError('not_found', 'image_not_found', `There is no image "${ref}".`))
        return
      }
      case 'prune':
        response.end(JSON.stringify({ images: 1, blobs: 2, layers: 0, partials: 0, bytes: 2048 }))
        return
      case 'export':
        response.writeHead(200, { 'content-length': this.archive.length }).end(this.archive)
        return
      case 'create': {
        const { from = 'base' } = JSON.parse(body.toString()) as { from?: string }
        const saved = [...this.checkpoints].find(([name, id]) => from === id || from === name)?.[1]
        if (this.names.has(from)) response.end(JSON.stringify({ id: 'sb-1', image: from }))
        else if (saved) response.end(JSON.stringify({ id: 'sb-1', image: saved }))
        else refuse(response, new CoppiceError('not_found', 'image_not_found', `There is no image "${from}".`))
        return
      }
      default: {
        const id = this.checkpoints.get(what.replace('/v1/checkpoints/', ''))
        if (id) response.end(JSON.stringify({ id }))
        else refuse(response, new CoppiceError('not_found', 'no_route', what))
      }
    }
  }

  #done(response: ServerResponse, name: string, facts: Record<string, unknown> = {}): void {
    this.names.add(name)
    end(response, { event: 'done', image: imageNamed(name), facts })
  }
}

function whatIs(method: string, path: string): string {
  if (path === '/v1/images') return method === 'GET' ? 'list' : 'remove'
  if (path === '/v1/sandboxes') return 'create'
  return path.replace('/v1/images/', '').replace('import/known', 'known')
}

function imageNamed(name: string): ImageInfo {
  return {
    name,
    digest: `sha256:${'0'.repeat(64)}`,
    architecture: 'amd64',
    os: 'linux',
    sizeBytes: 1,
    layers: 1,
    createdAt: 0,
    source: 'fake',
    config: { env: {}, cwd: '/', user: '', entrypoint: [], cmd: [], labels: {} },
  }
}

function end(response: ServerResponse, event: ImageEvent): void {
  response.end(`${JSON.stringify(event)}\n`)
}

function refuse(response: ServerResponse, error: CoppiceError): void {
  response.writeHead(httpStatus(error.code), { 'content-type': 'application/json' })
  response.end(JSON.stringify({ error: error.toBody() }))
}
