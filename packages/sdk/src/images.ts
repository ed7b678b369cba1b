import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { CoppiceError, type ImageEvent, type ImageInfo, type ProgressEvent } from '@coppice/protocol/wire'
import { bodyStream } from './body-stream.ts'
import { type ByteSource, exactly, knownLength, pieces } from './byte-source.ts'
import type { GatewayConnection } from './connection.ts'
import { lines } from './lines.ts'
import { connectionLost } from './link-failure.ts'
import { query } from './paths.ts'
import { sendBody } from './send-body.ts'

export interface ImportOptions {
  /** What the image is called from now on. */
  name: string
  /** Default `auto`: told by the content. */
  format?: 'auto' | 'oci-archive' | 'rootfs' | undefined
  /** Bytes of a streamed source, when known. */
  size?: number | undefined
  onProgress?: ((event: ProgressEvent) => void) | undefined
  signal?: AbortSignal | undefined
}

/** The images in a gateway's store. */
export class Images {
  readonly #connection: GatewayConnection

  /** Use `coppice.images`. */
  constructor(connection: GatewayConnection) {
    this.#connection = connection
  }

  async list(): Promise<ImageInfo[]> {
    const { images } = await this.#connection.json<{ images: ImageInfo[] }>({ method: 'GET', path: '/v1/images' }, true)
    return images
  }

  /** Imports a root file system archive or an OCI archive. Not resumable: after a failure the store is as before. */
  async import(source: ByteSource, options: ImportOptions): Promise<ImageInfo> {
    const { name, format, signal } = options
    const size = options.size ?? knownLength(source)
    const request = {
      method: 'POST' as const,
      path: `/v1/images/import${query({ name, format })}`,
      headers: size === undefined ? {} : { 'content-length': size },
      signal,
    }
    const body = size === undefined ? pieces(source) : exactly(size, pieces(source))
    return lastImage(await sendBody(this.#connection, request, body), options.onProgress)
  }

  /** An image as OCI archive. A cut connection is an error of the stream. */
  async export(ref: string, options: { signal?: AbortSignal } = {}): Promise<Readable> {
    const request = { method: 'GET' as const, path: `/v1/images/export${query({ ref })}`, answerMs: 0, ...options }
    return bodyStream(await this.#connection.send(request))
  }

  /** Makes the image `base`, which takes a minute; at once when it is there, unless `force`. */
  async bootstrap(
    options: { force?: boolean; onProgress?: (event: ProgressEvent) => void; signal?: AbortSignal } = {},
  ): Promise<ImageInfo> {
    const { force = false, onProgress, signal } = options
    const request = { method: 'POST' as const, path: '/v1/images/bootstrap', json: { force }, answerMs: 0, signal }
    return lastImage(await this.#connection.send(request), onProgress)
  }

  /** Removes an image and what only it used. */
  async remove(ref: string): Promise<void> {
    await this.#connection.json({ method: 'DELETE', path: `/v1/images${query({ ref })}` }, false)
  }
}

/** Passes progress on until the image is there. @throws the error event, or a link failure when neither came. */
async function lastImage(
  response: IncomingMessage,
  onProgress: ((event: ProgressEvent) => void) | undefined,
): Promise<ImageInfo> {
  try {
    for await (const line of lines(response)) {
      const event = JSON.parse(line) as ImageEvent
      if (event.event === 'done') return event.image
      if (event.event === 'error') throw CoppiceError.fromBody(event.error)
      const { event: _, ...progress } = event
      onProgress?.(progress)
    }
  } catch (error) {
    throw error instanceof CoppiceError ? error : connectionLost('the progress was cut off', error)
  } finally {
    response.resume()
  }
  throw connectionLost('the answer ended before its last line')
}
