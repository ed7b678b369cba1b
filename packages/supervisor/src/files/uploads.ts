import { mkdirSync } from 'node:fs'
import { lstat, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CoppiceError, type UploadState } from '@coppice/protocol/wire'

/** Milliseconds that an upload which nobody goes on with is kept, and that a finished one is remembered. */
export const UPLOAD_RETENTION_MS = 10 * 60_000

const SWEEP_MS = 60_000

/** What is known about an upload; on disk as JSON, so that it survives the supervisor. Paths are base64. */
export interface UploadRecord {
  readonly upload: string
  readonly target: string
  readonly temp: string
  /** Inode of the temporary file, set before it takes the target's name: tells afterwards whether it did. */
  readonly inode?: number
  /** Total bytes, set with `inode`. */
  readonly size?: number
}

/** Throws `invalid_argument/invalid_upload_id`. */
export function requireUploadId(id: string | undefined): string {
  if (id !== undefined && /^[A-Za-z0-9_-]{1,64}$/.test(id)) return id
  throw new CoppiceError(
    'invalid_argument',
    'invalid_upload_id',
    'An upload id has 1 to 64 letters, digits, "-" or "_".',
  )
}

/** Uploads that are under way, wait to be resumed, or have lately been finished. */
export class UploadTable {
  readonly #dir: string
  /** Who writes to an upload now, and how to make it stop. */
  readonly #writers = new Map<string, { stop: () => void; stopped: Promise<void> }>()
  readonly #sweeper: NodeJS.Timeout

  constructor(dir: string) {
    this.#dir = dir
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    this.#sweeper = setInterval(() => void this.#sweep(), SWEEP_MS).unref()
  }

  async record(upload: string): Promise<UploadRecord | undefined> {
    try {
      return JSON.parse(await readFile(this.#file(upload), 'utf8')) as UploadRecord
    } catch {
      return undefined
    }
  }

  /** Puts a record on disk, whole or not at all. */
  async save(record: UploadRecord): Promise<void> {
    const file = this.#file(record.upload)
    await writeFile(`${file}.new`, JSON.stringify(record), { mode: 0o600 })
    await rename(`${file}.new`, file)
  }

  async state(upload: string): Promise<UploadState> {
    const record = await this.record(upload)
    if (!record) return { upload, acknowledged: 0, committed: false }
    const temp = await lstat(Buffer.from(record.temp, 'base64')).catch(() => undefined)
    if (temp) return { upload, acknowledged: temp.size, committed: false }
    const target = await stat(Buffer.from(record.target, 'base64')).catch(() => undefined)
    const committed = record.inode !== undefined && target?.ino === record.inode
    return { upload, acknowledged: committed ? (record.size ?? 0) : 0, committed }
  }

  /** Makes the caller the only writer: an earlier one (of a session that is lost) is stopped first. Returns how to give it back. */
  async claim(upload: string, stop: () => void): Promise<() => void> {
    for (let other = this.#writers.get(upload); other; other = this.#writers.get(upload)) {
      other.stop()
      await other.stopped
    }
    let release: () => void = () => {}
    const stopped = new Promise<void>((resolve) => {
      release = resolve
    })
    this.#writers.set(upload, { stop, stopped })
    return () => {
      this.#writers.delete(upload)
      release()
    }
  }

  /** Throws an unfinished upload away. One that is finished stays as it is. */
  async discard(upload: string): Promise<void> {
    const release = await this.claim(upload, () => {})
    try {
      const record = await this.record(upload)
      if (record) await rm(Buffer.from(record.temp, 'base64'), { force: true })
      await rm(this.#file(upload), { force: true })
    } finally {
      release()
    }
  }

  /** Stops every writer. What has arrived stays for the next supervisor. */
  async close(): Promise<void> {
    clearInterval(this.#sweeper)
    for (const { stop, stopped } of this.#writers.values()) {
      stop()
      await stopped
    }
  }

  async #sweep(): Promise<void> {
    for (const name of await readdir(this.#dir).catch(() => [])) {
      const upload = name.replace(/\.json$/, '')
      if (this.#writers.has(upload)) continue
      const record = await this.record(upload)
      const temp = record && (await lstat(Buffer.from(record.temp, 'base64')).catch(() => undefined))
      const touched = temp ?? (await lstat(join(this.#dir, name)).catch(() => undefined))
      if (touched && Date.now() - touched.mtimeMs > UPLOAD_RETENTION_MS) await this.discard(upload)
    }
  }

  #file(upload: string): string {
    return join(this.#dir, `${upload}.json`)
  }
}
