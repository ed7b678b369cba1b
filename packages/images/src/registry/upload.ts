import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import type { ByteProgress } from '../import/byte-progress.ts'
import { readChunks } from '../import/disk-source.ts'
import type { BlobId } from '../store/blob-id.ts'
import type { RegistryClient } from './client.ts'
import { type Answer, badAnswer, type RequestOptions, smallBody } from './connection.ts'
import { Transient } from './faults.ts'
import { retrying } from './retry.ts'

/** Blobs up to this size go in the request that also completes the upload: 1 MiB. */
const MONOLITHIC_BYTES = 1024 * 1024

/** Bytes of one request where the registry, or a proxy before it, refuses larger ones: 32 MiB. */
const FALLBACK_CHUNK_BYTES = 32 * 1024 * 1024

const MAX_ANSWER_BYTES = 64 * 1024

/** A blob of the store, to be sent. */
export interface Upload extends BlobId {
  path: string
  /** Repositories of the same registry that have it. */
  mountFrom: string[]
}

/** How the registry came to have a blob. */
export type Uploaded = 'present' | 'mounted' | 'uploaded'

/** Sees to it that the repository has a blob. Throws what `retrying` does. */
export async function uploadBlob(
  client: RegistryClient,
  blob: Upload,
  counter: ByteProgress,
  progress: Progress,
): Promise<Uploaded> {
  if (await has(client, blob, progress)) {
    counter.add(blob.size)
    return 'present'
  }
  const session = new UploadSession(client, blob, counter)
  for (const repository of blob.mountFrom) {
    const mounted = await session.mount(repository, progress)
    if (!mounted) continue
    counter.add(blob.size)
    return 'mounted'
  }
  await retrying(
    client.settings,
    progress,
    () => session.attempt(progress),
    () => session.offset,
  )
  return 'uploaded'
}

async function has(client: RegistryClient, blob: BlobId, progress: Progress): Promise<boolean> {
  const { answer } = await client.fetch(
    `blobs/${blob.digest}`,
    {
      method: 'HEAD',
      follow: true,
      scopes: [client.scope('pull,push')],
      expected: [200, 404],
      what: `the blob ${blob.digest}`,
      limit: MAX_ANSWER_BYTES,
    },
    progress,
  )
  return answer.status === 200
}

/** One blob on its way, over as many requests and connections as it takes. */
class UploadSession {
  readonly #client: RegistryClient
  readonly #blob: Upload
  readonly #counter: ByteProgress
  #chunkBytes: number | undefined
  /** Where the next request goes; undefined: an upload has to be begun. */
  #location: URL | undefined
  /** A request was cut: only the registry knows how much it has. */
  #uncertain = false
  /** Bytes that the registry has. */
  offset = 0

  constructor(client: RegistryClient, blob: Upload, counter: ByteProgress) {
    this.#client = client
    this.#blob = blob
    this.#counter = counter
    this.#chunkBytes = client.settings.uploadChunkBytes
  }

  /** Asks for a blob of another repository. What the registry says against it is no failure: the blob is sent then. */
  async mount(repository: string, progress: Progress): Promise<boolean> {
    const { scope } = this.#client
    const query = `?mount=${encodeURIComponent(this.#blob.digest)}&from=${encodeURIComponent(repository)}`
    try {
      const url = await this.#client.url(`blobs/uploads/${query}`, progress)
      const scopes = [this.#client.scope('pull,push'), scope.call(this.#client, 'pull', repository)]
      const answer = await this.#request(url, { method: 'POST' }, [201, 202], progress, scopes)
      if (answer.status === 201) return true
      // It has begun an upload instead.
      this.#moved(answer, url)
    } catch {
      progress.throwIfEnded()
    }
    return false
  }

  /** Sends what is missing and completes the upload. After a `Transient` error the next call goes on. */
  async attempt(progress: Progress): Promise<void> {
    try {
      await this.#begin(progress)
      await this.#send(progress)
    } catch (error) {
      this.#uncertain = true
      throw this.#judged(error)
    }
  }

  async #begin(progress: Progress): Promise<void> {
    if (this.#location && this.#uncertain) await this.#ask(this.#location, progress)
    this.#uncertain = false
    if (this.#location) return
    const url = await this.#client.url('blobs/uploads/', progress)
    const answer = await this.#request(url, { method: 'POST' }, [202], progress)
    this.#moved(answer, url)
    this.#reached(0)
    const least = Number(answer.headers['oci-chunk-min-length'])
    if (this.#chunkBytes !== undefined && least > this.#chunkBytes) this.#chunkBytes = least
  }

  /** How far did it come? A registry that cannot say begins anew. */
  async #ask(location: URL, progress: Progress): Promise<void> {
    const answer = await this.#request(location, { method: 'GET' }, [204, 400, 404, 405, 416], progress)
    const end = answer.status === 204 ? /^(?:bytes=)?0-([0-9]{1,15})$/.exec(answer.headers.range ?? '')?.[1] : undefined
    // `0-0` stands for nothing as well as for one byte.
    const bytes = end === undefined || end === '0' ? 0 : Number(end) + 1
    if (answer.status !== 204 || bytes > this.#blob.size) {
      this.#location = undefined
      return
    }
    this.#reached(bytes)
    if (answer.headers.location !== undefined) this.#moved(answer, location)
  }

  async #send(progress: Progress): Promise<void> {
    const { size, digest } = this.#blob
    if (size <= MONOLITHIC_BYTES && this.offset === 0) {
      await this.#complete(digest, size, progress)
      return
    }
    while (this.offset < size) {
      const from = this.offset
      const to = Math.min(size, from + (this.#chunkBytes ?? size))
      const whole = from === 0 && to === size
      const headers = {
        'content-type': 'application/octet-stream',
        ...(!whole && { 'content-range': `${from}-${to - 1}` }),
      }
      const url = this.#location
      if (!url) return
      const answer = await this.#request(
        url,
        { method: 'PATCH', headers, body: this.#bytes(from, to) },
        [202],
        progress,
      )
      this.#moved(answer, url)
      this.#reached(to)
    }
    await this.#complete(digest, 0, progress)
  }

  async #complete(digest: string, bytes: number, progress: Progress): Promise<void> {
    const url = new URL(this.#location ?? badLocation(this.#client.host))
    url.searchParams.set('digest', digest)
    const headers = { 'content-type': 'application/octet-stream' }
    await this.#request(url, { method: 'PUT', headers, body: this.#bytes(0, bytes) }, [201, 202, 204], progress)
    this.#reached(this.#blob.size)
  }

  #bytes(from: number, to: number): RequestOptions['body'] & object {
    return { length: to - from, chunks: readChunks(this.#blob.path, { start: from, size: to - from }) }
  }

  /** What the next attempt can do better makes an error `Transient`. */
  #judged(error: unknown): unknown {
    const status = error instanceof CoppiceError ? error.facts.status : undefined
    if (!(error instanceof CoppiceError) || typeof status !== 'number') return error
    if (status === 413 && (this.#chunkBytes ?? Number.POSITIVE_INFINITY) > FALLBACK_CHUNK_BYTES) {
      this.#chunkBytes = FALLBACK_CHUNK_BYTES
      this.#location = undefined
      return new Transient(error)
    }
    // The registry has forgotten the upload, or has another opinion of how far it is.
    if (status === 404 || status === 416) {
      this.#location = undefined
      return new Transient(error)
    }
    return error
  }

  #moved(answer: Answer, base: URL): void {
    const next = URL.parse(answer.headers.location ?? '', base.href)
    if (!answer.headers.location || !next) throw badAnswer(this.#client.host, 'an upload without a place')
    this.#location = next
  }

  #reached(offset: number): void {
    this.#counter.add(offset - this.offset)
    this.offset = offset
  }

  async #request(
    url: URL,
    options: RequestOptions,
    expected: number[],
    progress: Progress,
    scopes = [this.#client.scope('pull,push')],
  ): Promise<Answer> {
    const what = `the upload of ${this.#blob.digest}`
    const answer = await this.#client.request(url, { ...options, scopes, expected, what }, progress)
    await smallBody(answer, MAX_ANSWER_BYTES, progress)
    return answer
  }
}

function badLocation(host: string): never {
  throw badAnswer(host, 'an upload without a place')
}
