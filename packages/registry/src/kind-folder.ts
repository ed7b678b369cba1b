import { mkdir, open, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** The folder of one kind, and the names in it. */
export class KindFolder {
  readonly kind: string
  readonly path: string
  #ensured: Promise<void> | undefined

  constructor(registryDir: string, kind: string) {
    this.kind = kind
    this.path = join(registryDir, kind)
  }

  base(stem: string): string {
    return `${this.path}/${stem}.json`
  }

  draft(stem: string, nonce: string): string {
    return `${this.path}/${stem}.${nonce}.new`
  }

  slot(stem: string, parentNonce: string): string {
    return `${this.path}/${stem}.${parentNonce}.next`
  }

  /** Makes the folder, mode 0700, and makes that durable. */
  ensure(): Promise<void> {
    this.#ensured ??= this.#make().catch((error) => {
      this.#ensured = undefined
      throw error
    })
    return this.#ensured
  }

  async #make(): Promise<void> {
    const made = await mkdir(this.path, { recursive: true, mode: 0o700 })
    if (made !== undefined) await syncFolder(dirname(this.path))
  }

  /** Returns when every link, rename and unlink in the folder so far is on the disk. */
  sync(): Promise<void> {
    return syncFolder(this.path)
  }

  /** Throws the file system's error when the registry itself is not there: a kind without entries is another thing. */
  async checkRegistry(): Promise<void> {
    await stat(dirname(this.path))
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
