import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import type { TestImage } from './layout-builder.ts'

/** One request as the server saw it. */
export interface Seen {
  method: string
  /** Path and query. */
  path: string
  range: string | undefined
  authorization: string | undefined
  /** Bytes of its body that came. */
  bytes: number
}

/** What goes wrong with a request, once it is decided that something does. */
export interface Fault {
  /** Answer this instead. */
  status?: number
  headers?: Record<string, string>
  body?: string | Buffer
  /** Answer as usual, and cut the connection after so many bytes of the body. */
  cutAfter?: number
  /** Cut the connection after so many bytes of the request's body have come. */
  cutRequestAfter?: number
  /** Answer nothing. */
  hang?: true
}

const sha256 = (bytes: Buffer | string) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

/** A registry in this process that does what the specification says, and whatever a test wants to go wrong. */
export class FaultRegistry {
  readonly seen: Seen[] = []
  readonly blobs = new Map<string, Buffer>()
  readonly manifests = new Map<string, { type: string; body: Buffer }>()
  /** Asked for every request, with those that came before. */
  fault: (seen: Seen, before: Seen[]) => Fault | undefined = () => undefined
  /** Whether it knows byte ranges, tells how far an upload is, and has blobs to mount. */
  ranges = true
  uploadStatus = true
  mountable = new Set<string>()
  /** What it wants to be told. `token`: the one that it gives itself, at `/token`. */
  auth: 'none' | 'basic' | 'token' = 'none'
  /** Bytes that it has for each upload under way. */
  readonly #uploads = new Map<string, Buffer>()
  readonly #server: Server
  token = 'first'

  private constructor(server: Server) {
    this.#server = server
    server.on('request', (request, response) => {
      this.#handle(request, response).catch(() => response.destroy())
    })
  }

  static async start(): Promise<FaultRegistry> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new FaultRegistry(server)
  }

  get host(): string {
    const address = this.#server.address()
    return `127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }

  /** Requests of one method whose path matches. */
  requests(method: string, path: RegExp): Seen[] {
    return this.seen.filter((seen) => seen.method === method && path.test(seen.path))
  }

  /** Puts an image in; several are the variants of one, behind an index. Returns the digests of their manifests. */
  add(name: string, images: TestImage[], docker = false): string[] {
    const kind = (oci: string, schema2: string) =>
      `application/vnd.${docker ? `docker.${schema2}` : `oci.image.${oci}`}`
    const put = (bytes: Buffer) => {
      this.blobs.set(sha256(bytes), bytes)
      return { digest: sha256(bytes), size: bytes.length }
    }
    const repository = name.slice(0, name.lastIndexOf(':'))
    const putManifest = (reference: string, type: string, value: unknown) => {
      const body = Buffer.from(JSON.stringify(value))
      this.manifests.set(`${repository}/${reference}`, { type, body })
      this.manifests.set(`${repository}/${sha256(body)}`, { type, body })
      return { mediaType: type, digest: sha256(body), size: body.length }
    }
    const entries = images.map((image) => {
      const layers = image.layers.map(({ tar, packed }) => {
        const bytes = packed === 'gzip' ? gzipSync(tar) : packed === 'zstd' ? zstdCompressSync(tar) : tar
        const end = packed ? `${docker ? '.' : '+'}${packed}` : ''
        return { mediaType: `${kind('layer.v1.tar', 'image.rootfs.diff.tar')}${end}`, ...put(bytes) }
      })
      const platform = {
        architecture: image.architecture ?? (process.arch === 'x64' ? 'amd64' : process.arch),
        os: 'linux',
      }
      const diffIds = image.diffIds ?? image.layers.map(({ tar }) => sha256(tar))
      const config = { ...platform, config: image.config ?? {}, rootfs: { type: 'layers', diff_ids: diffIds } }
      const type = kind('manifest.v1+json', 'distribution.manifest.v2+json')
      const manifest = {
        schemaVersion: 2,
        mediaType: type,
        config: {
          mediaType: kind('config.v1+json', 'container.image.v1+json'),
          ...put(Buffer.from(JSON.stringify(config))),
        },
        layers,
      }
      return { ...putManifest(name.slice(name.lastIndexOf(':') + 1), type, manifest), platform }
    })
    if (entries.length > 1) {
      const type = kind('index.v1+json', 'distribution.manifest.list.v2+json')
      const index = { schemaVersion: 2, mediaType: type, manifests: entries }
      putManifest(name.slice(name.lastIndexOf(':') + 1), type, index)
    }
    return entries.map((entry) => entry.digest)
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '' } = request
    const { range, authorization } = request.headers
    const seen: Seen = { method, path: url, range, authorization, bytes: 0 }
    const fault = this.fault(seen, [...this.seen])
    this.seen.push(seen)
    if (fault?.hang) return
    const body = await this.#receive(request, seen, fault)
    if (fault?.status !== undefined) {
      response.writeHead(fault.status, fault.headers).end(fault.body)
      return
    }
    const answer = this.#answer(seen, request, body)
    const bytes = Buffer.from(answer.body ?? '')
    response.writeHead(answer.status, {
      ...(method !== 'HEAD' && { 'content-length': bytes.length }),
      ...answer.headers,
      ...fault?.headers,
    })
    if (fault?.cutAfter === undefined) {
      response.end(method === 'HEAD' ? undefined : bytes)
      return
    }
    response.write(bytes.subarray(0, fault.cutAfter), () => response.destroy())
  }

  /** What came is kept although the connection is cut: that is what resuming is about. */
  async #receive(request: IncomingMessage, seen: Seen, fault: Fault | undefined): Promise<Buffer> {
    const parts: Buffer[] = []
    const limit = fault?.cutRequestAfter ?? Number.POSITIVE_INFINITY
    for await (const chunk of request as AsyncIterable<Buffer>) {
      parts.push(chunk.subarray(0, limit - seen.bytes))
      seen.bytes += parts.at(-1)?.length ?? 0
      if (seen.bytes < limit) continue
      this.#append(seen.path, Buffer.concat(parts))
      request.socket.destroy()
      throw new Error('cut')
    }
    return Buffer.concat(parts)
  }

  #append(path: string, bytes: Buffer): Buffer {
    const id = /uploads\/([0-9a-f-]+)/.exec(path)?.[1] ?? ''
    const all = Buffer.concat([this.#uploads.get(id) ?? Buffer.alloc(0), bytes])
    this.#uploads.set(id, all)
    return all
  }

  #answer(seen: Seen, request: IncomingMessage, body: Buffer): Fault & { status: number } {
    const url = new URL(seen.path, 'http://registry')
    if (url.pathname === '/token') return this.#giveToken(seen, body)
    const refused = this.#refused(seen)
    if (refused) return refused
    const [, repository = '', kind, rest = ''] = /^\/v2\/(.+?)\/(manifests|blobs)\/(.*)$/.exec(url.pathname) ?? []
    if (kind === 'manifests') return this.#manifest(seen.method, repository, rest, request, body)
    if (kind !== 'blobs') return { status: url.pathname === '/v2/' ? 200 : 404 }
    if (rest.startsWith('uploads/')) return this.#upload(seen, url, repository, body)
    const blob = this.blobs.get(rest)
    if (!blob) return { status: 404, body: '{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}' }
    const from = this.ranges ? Number(/^bytes=([0-9]+)-$/.exec(seen.range ?? '')?.[1] ?? Number.NaN) : Number.NaN
    if (Number.isNaN(from)) return { status: 200, body: blob }
    if (from >= blob.length) return { status: 416 }
    const headers = { 'content-range': `bytes ${from}-${blob.length - 1}/${blob.length}` }
    return { status: 206, headers, body: blob.subarray(from) }
  }

  #manifest(
    method: string,
    repository: string,
    reference: string,
    request: IncomingMessage,
    body: Buffer,
  ): Fault & { status: number } {
    if (method === 'PUT') {
      const entry = { type: request.headers['content-type'] ?? '', body }
      this.manifests.set(`${repository}/${reference}`, entry)
      return { status: 201, headers: { 'docker-content-digest': sha256(body) } }
    }
    const found = this.manifests.get(`${repository}/${reference}`)
    if (!found) return { status: 404, body: '{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}' }
    return { status: 200, headers: { 'content-type': found.type }, body: found.body }
  }

  #upload({ method }: Seen, url: URL, repository: string, body: Buffer): Fault & { status: number } {
    const place = (id: string) => ({ location: `/v2/${repository}/blobs/uploads/${id}?state=1` })
    if (method === 'POST') {
      const mount = url.searchParams.get('mount')
      if (mount && this.mountable.has(`${url.searchParams.get('from')} ${mount}`)) return { status: 201 }
      const id = randomUUID()
      this.#uploads.set(id, Buffer.alloc(0))
      return { status: 202, headers: place(id) }
    }
    const id = /uploads\/([0-9a-f-]+)/.exec(url.pathname)?.[1] ?? ''
    const bytes = this.#uploads.get(id)
    if (!bytes) return { status: 404 }
    if (method === 'GET') {
      if (!this.uploadStatus) {
        this.#uploads.delete(id)
        return { status: 404 }
      }
      return { status: 204, headers: { ...place(id), range: `0-${Math.max(0, bytes.length - 1)}` } }
    }
    const all = this.#append(url.pathname, body)
    if (method === 'PATCH') return { status: 202, headers: { ...place(id), range: `0-${all.length - 1}` } }
    const digest = url.searchParams.get('digest') ?? ''
    if (sha256(all) !== digest) return { status: 400, body: '{"errors":[{"code":"DIGEST_INVALID"}]}' }
    this.#uploads.delete(id)
    this.blobs.set(digest, all)
    return { status: 201 }
  }

  #refused({ authorization }: Seen): (Fault & { status: number }) | undefined {
    const basic = `Basic ${Buffer.from('user:secret').toString('base64')}`
    if (this.auth === 'basic' && authorization !== basic) {
      return { status: 401, headers: { 'www-authenticate': 'Basic realm="test"' } }
    }
    if (this.auth === 'token' && authorization !== `Bearer ${this.token}`) {
      const scope = 'repository:any:pull'
      const header = `Bearer realm="http://${this.host}/token",service="test, \\"quoted\\"",scope="${scope}"`
      return { status: 401, headers: { 'www-authenticate': header } }
    }
    return undefined
  }

  #giveToken({ authorization, method }: Seen, body: Buffer): Fault & { status: number } {
    const known = authorization === `Basic ${Buffer.from('user:secret').toString('base64')}`
    const refreshed = method === 'POST' && new URLSearchParams(body.toString()).get('refresh_token') === 'identity'
    if (!known && !refreshed) return { status: 401, body: '{"errors":[{"message":"who are you"}]}' }
    return { status: 200, body: JSON.stringify({ access_token: this.token, expires_in: 300 }) }
  }
}
