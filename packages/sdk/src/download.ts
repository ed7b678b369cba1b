import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { CoppiceError, type FileStat } from '@coppice/protocol/wire'
import { abortError } from './cancellation.ts'
import type { GatewayConnection } from './connection.ts'
import { connectionLost, isLinkFailure, linkSilent, withFacts } from './link-failure.ts'
import { query, type RemotePath } from './paths.ts'
import { RetryWindow } from './retry-window.ts'

export interface ReadOptions {
  /** First byte wanted. Default 0. */
  offset?: number | undefined
  /** How many bytes. Default: to the end. */
  length?: number | undefined
  signal?: AbortSignal | undefined
}

/**
 * A file of a sandbox as it comes, pulled by its reader. A broken connection is opened again at the next byte; when the file
 * has changed meanwhile it fails with `conflict/file_changed`. What ends cleanly is whole.
 */
export class Download extends Readable {
  readonly #connection: GatewayConnection
  readonly #filesPath: string
  readonly #path: RemotePath
  readonly #options: ReadOptions
  readonly #window: RetryWindow
  readonly #stat = Promise.withResolvers<FileStat | undefined>()
  #received = 0
  #etag: string | undefined
  #response: IncomingMessage | undefined

  constructor(connection: GatewayConnection, filesPath: string, path: RemotePath, options: ReadOptions) {
    super({ highWaterMark: 1024 * 1024 })
    this.#connection = connection
    this.#filesPath = filesPath
    this.#path = path
    this.#options = options
    this.#window = new RetryWindow(connection.boundMs, options.signal)
    this.#stat.promise.catch(() => {})
    void this.#run()
  }

  /** What the file was when reading began. */
  get stat(): Promise<FileStat | undefined> {
    return this.#stat.promise
  }

  override _read(): void {
    this.#response?.resume()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#response?.destroy()
    this.#stat.reject(error ?? new CoppiceError('cancelled', 'cancelled', 'The download was given up.'))
    callback(error)
  }

  async #run(): Promise<void> {
    while (!this.destroyed) {
      try {
        await this.#attempt()
        this.push(null)
        return
      } catch (error) {
        try {
          if (!isLinkFailure(error) || this.#connection.neverThere(error)) throw error
          await this.#window.next(error)
          this.#connection.rediscover()
        } catch (last) {
          this.destroy(withFacts(CoppiceError.from(last), { offset: (this.#options.offset ?? 0) + this.#received }))
          return
        }
      }
    }
  }

  async #attempt(): Promise<void> {
    const { offset = 0, length, signal } = this.#options
    const left = length === undefined ? undefined : length - this.#received
    const at = offset + this.#received
    const response = await this.#connection.send({
      method: 'GET',
      path: `${this.#filesPath}/content${query({ path: this.#path, offset: at, length: left })}`,
      headers: this.#etag === undefined ? {} : { 'if-match': this.#etag },
      signal,
    })
    this.#etag ??= response.headers.etag
    this.#stat.resolve(parseStat(response.headers['x-coppice-stat']))
    this.#window.reached()
    await this.#receive(response, signal)
  }

  #receive(response: IncomingMessage, signal: AbortSignal | undefined): Promise<void> {
    const { boundMs } = this.#connection
    return new Promise<void>((resolve, reject) => {
      // The gateway itself waits up to the bound for a session, and sends no heartbeats among a file's bytes: a whole interval
      // without a byte, while somebody reads, is silence.
      let silence: CoppiceError | undefined
      let heard = -1
      const timer = setInterval(() => {
        const silent = heard === this.#received && !response.isPaused()
        heard = response.isPaused() ? -1 : this.#received
        if (!silent) return
        silence = linkSilent(boundMs)
        response.destroy()
      }, boundMs)
      response.on('data', (chunk: Buffer) => {
        this.#received += chunk.length
        this.#window.succeeded()
        if (!this.push(chunk)) response.pause()
      })
      response.once('end', () => resolve())
      response.on('error', (error) => reject(silence ?? connectionLost('a file was cut off', error)))
      response.once('close', () => {
        clearInterval(timer)
        reject(signal?.aborted ? abortError(signal) : (silence ?? connectionLost('a file was cut off')))
      })
      this.#response = response
      if (this.destroyed) response.destroy()
    })
  }
}

function parseStat(header: string | string[] | undefined): FileStat | undefined {
  if (typeof header !== 'string') return undefined
  try {
    return JSON.parse(header) as FileStat
  } catch {
    return undefined
  }
}
