import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

/** Longest random pause before the lock is tried again, milliseconds. It starts at 1 and doubles. */
const MAX_PAUSE_MS = 32

/**
 * What Coppice's registry is compared with, and nothing more: all entries in one JSON document behind one lock file, which
 * every access takes, as in the systems that it answers. It is whole on the disk before the lock is given back, and who
 * finds the lock taken comes back far sooner than there (they wait 50 ms and more).
 */
export class LockedDocument {
  readonly #path: string
  readonly #lock: string

  constructor(folder: string) {
    this.#path = join(folder, 'entries.json')
    this.#lock = join(folder, 'entries.lock')
  }

  get(id: string): Promise<object | undefined> {
    return this.#locked(async () => (await this.#read())[id])
  }

  create(id: string, value: object): Promise<void> {
    return this.#locked(async () => {
      const entries = await this.#read()
      if (entries[id]) throw new Error(`${id} exists`)
      entries[id] = value
      await this.#write(JSON.stringify(entries))
    })
  }

  async #locked<R>(work: () => Promise<R>): Promise<R> {
    await this.#acquire()
    try {
      return await work()
    } finally {
      await rm(this.#lock)
    }
  }

  async #acquire(): Promise<void> {
    for (let pause = 1; ; pause = Math.min(pause * 2, MAX_PAUSE_MS)) {
      try {
        return await (await open(this.#lock, 'wx')).close()
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
      await delay(Math.random() * pause)
    }
  }

  async #read(): Promise<Record<string, object>> {
    try {
      return JSON.parse(await readFile(this.#path, 'utf8')) as Record<string, object>
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {}
      throw error
    }
  }

  async #write(text: string): Promise<void> {
    const draft = `${this.#path}.draft`
    const file = await open(draft, 'w', 0o600)
    try {
      await file.writeFile(text)
      await file.datasync()
    } finally {
      await file.close()
    }
    await rename(draft, this.#path)
    const folder = await open(join(this.#path, '..'), 'r')
    try {
      await folder.sync()
    } finally {
      await folder.close()
    }
  }
}

/** Makes the folder of a document. */
export async function openDocument(folder: string): Promise<LockedDocument> {
  await mkdir(folder, { recursive: true })
  return new LockedDocument(folder)
}
