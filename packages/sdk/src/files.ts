import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { CoppiceError, type FileList, type FileStat } from '@coppice/protocol/wire'
import { bodyStream } from './body-stream.ts'
import { type ByteSource, pieces } from './byte-source.ts'
import type { GatewayConnection } from './connection.ts'
import { Download, type ReadOptions } from './download.ts'
import { readWhole } from './http.ts'
import { query, type RemotePath } from './paths.ts'
import { sendBody } from './send-body.ts'
import { upload, type WriteOptions } from './upload.ts'

/** Bytes that `read` holds at most unless told otherwise. */
const DEFAULT_MAX_READ_BYTES = 256 * 1024 * 1024

export interface ReadWholeOptions extends ReadOptions {
  /** Default 256 MiB; a larger file is `resource_exhausted/file_too_large`. */
  maxBytes?: number
}

/** The files of one sandbox. Paths are absolute; those that are relative start at the sandbox's `/`. */
export class SandboxFiles {
  readonly #connection: GatewayConnection
  readonly #sandboxPath: string

  /** Use `sandbox.files`. */
  constructor(connection: GatewayConnection, sandboxPath: string) {
    this.#connection = connection
    this.#sandboxPath = sandboxPath
  }

  /** A file's content, held in memory. */
  async read(path: RemotePath, options: ReadWholeOptions = {}): Promise<Buffer> {
    const { maxBytes = DEFAULT_MAX_READ_BYTES } = options
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of this.readStream(path, options)) {
      chunks.push(chunk as Buffer)
      bytes += (chunk as Buffer).length
      if (bytes > maxBytes) {
        throw new CoppiceError('resource_exhausted', 'file_too_large', `The file is larger than ${maxBytes} bytes.`, {
          facts: { path: String(path), maxBytes },
          hint: 'Use readStream or download, or raise maxBytes.',
        })
      }
    }
    return Buffer.concat(chunks, bytes)
  }

  /** A file's content as UTF-8 text. */
  async readText(path: RemotePath, options: ReadWholeOptions = {}): Promise<string> {
    return (await this.read(path, options)).toString('utf8')
  }

  /** A file's content as it comes, resumed over broken connections. It ends cleanly only when all bytes came. */
  readStream(path: RemotePath, options: ReadOptions = {}): Download {
    return new Download(this.#connection, `${this.#sandboxPath}/files`, path, options)
  }

  /** Writes a whole file, atomically: its name never shows half of it. Resumed over broken connections. */
  write(path: RemotePath, source: ByteSource, options: WriteOptions = {}): Promise<void> {
    return upload(this.#connection, this.#sandboxPath, path, source, options)
  }

  /** Type, size, mode and owner. Follows symlinks unless told otherwise. @throws `not_found`. */
  stat(path: RemotePath, options: { nofollow?: boolean } = {}): Promise<FileStat> {
    return this.#get('stat', { path, nofollow: options.nofollow })
  }

  /** The entries of a folder, sorted by the bytes of their names. */
  list(path: RemotePath, options: { limit?: number } = {}): Promise<FileList> {
    return this.#get('list', { path, limit: options.limit })
  }

  /** Makes a folder, and those above it unless `parents` is false. */
  async mkdir(path: string, options: { parents?: boolean; mode?: number; user?: string } = {}): Promise<void> {
    await this.#post('mkdir', { path, ...options }, options.parents !== false)
  }

  /** Renames. Replaces what is there unless `overwrite` is false. */
  async move(from: string, to: string, options: { overwrite?: boolean } = {}): Promise<void> {
    await this.#post('move', { from, to, ...options }, false)
  }

  /** Removes a file, or with `recursive` a folder and all in it. With `force`, what is not there is no error. */
  async remove(path: string, options: { recursive?: boolean; force?: boolean } = {}): Promise<void> {
    await this.#post('remove', { path, ...options }, options.force === true)
  }

  /** A folder as tar, names relative to it. Not resumable: a broken connection is an error of the stream. */
  async readArchive(path: RemotePath, options: { signal?: AbortSignal } = {}): Promise<Readable> {
    const request = { method: 'GET' as const, path: `${this.#sandboxPath}/files/archive${query({ path })}`, ...options }
    return bodyStream(await this.#connection.retrying(options.signal, true, () => this.#connection.send(request)))
  }

  /** Unpacks a tar into a folder. Not resumable; a failure may leave a part. Returns the number of entries. */
  async writeArchive(
    path: RemotePath,
    source: ByteSource,
    options: { user?: string | undefined; signal?: AbortSignal } = {},
  ): Promise<{ entries: number }> {
    const { user, signal } = options
    const request = {
      method: 'PUT' as const,
      path: `${this.#sandboxPath}/files/archive${query({ path, user })}`,
      signal,
    }
    const response: IncomingMessage = await sendBody(this.#connection, request, pieces(source))
    return JSON.parse((await readWhole(response, 65_536)).toString('utf8')) as { entries: number }
  }

  /** Copies a local file or folder to exactly `path`. Folders are merged into one that is there. */
  async upload(localPath: string, path: string, options: { user?: string; signal?: AbortSignal } = {}): Promise<void> {
    // Loaded when needed: most programs never copy local files, and their start should not pay for it.
    const { uploadPath } = await import('./local-upload.ts')
    return uploadPath(this, localPath, path, options)
  }

  /** Copies a file or folder to exactly `localPath`. A file appears as a whole; nothing is written outside of `localPath`. */
  async download(path: RemotePath, localPath: string, options: { signal?: AbortSignal } = {}): Promise<void> {
    const { downloadPath } = await import('./local-download.ts')
    return downloadPath(this, path, localPath, options)
  }

  #get<T>(what: string, values: Parameters<typeof query>[0]): Promise<T> {
    return this.#connection.json({ method: 'GET', path: `${this.#sandboxPath}/files/${what}${query(values)}` }, true)
  }

  #post(what: string, json: unknown, repeatable: boolean): Promise<unknown> {
    return this.#connection.json({ method: 'POST', path: `${this.#sandboxPath}/files/${what}`, json }, repeatable)
  }
}
