import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const NAME = /^staged-[0-9a-f]{16}\.json$/

/** A file of ours in a container, that has to go unless it becomes the result. */
export interface StagedFile {
  /** The container, in the words of whoever pushes: see `PushTarget.id`. */
  target: string
  path: string
}

/** A staged file that is known beyond the life of this process, until it is forgotten. */
export interface StagedNote extends StagedFile {
  forget(): Promise<void>
}

/**
 * Which files are staged in containers now: a note for each, written before its first byte is sent. Notes that are there when a
 * gateway starts are of one that was killed. In a folder of the gateway's own, whatever `COPPICE_SCRATCH_DIR` says: what others can
 * write would let them remove files in containers.
 */
export class StagedFiles {
  readonly #dir: string
  /** Of earlier processes. */
  readonly left: StagedNote[] = []

  private constructor(dir: string) {
    this.#dir = dir
  }

  static async open(dir: string): Promise<StagedFiles> {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    const files = new StagedFiles(dir)
    for (const name of await readdir(dir)) {
      const file = NAME.test(name) ? await readNote(join(dir, name)) : undefined
      if (file) files.left.push(files.#note(file, name))
    }
    return files
  }

  async add(file: StagedFile): Promise<StagedNote> {
    const name = `staged-${randomBytes(8).toString('hex')}.json`
    await writeFile(join(this.#dir, name), JSON.stringify(file), { mode: 0o600, flag: 'wx' })
    return this.#note(file, name)
  }

  #note({ target, path }: StagedFile, name: string): StagedNote {
    return { target, path, forget: () => rm(join(this.#dir, name), { force: true }) }
  }
}

/** Undefined for half a note: its gateway was killed before it had sent a byte. */
async function readNote(path: string): Promise<StagedFile | undefined> {
  try {
    const note: unknown = JSON.parse(await readFile(path, 'utf8'))
    if (note !== null && typeof note === 'object' && 'target' in note && 'path' in note) {
      if (typeof note.target === 'string' && typeof note.path === 'string') return { ...note } as StagedFile
    }
  } catch {}
  await rm(path, { force: true })
  return undefined
}
