import { constants } from 'node:fs'
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import { give, type Owner } from './ownership.ts'
import { pathNames } from './path.ts'

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW

/**
 * Reaches files under one folder without ever following a symlink, as `openat` would: each folder on the way is opened through
 * the one above it. The folders of the last file stay open, since the next one is mostly near.
 */
export class FolderWalk {
  readonly #owner: Owner | undefined
  #open: { name: Buffer; handle: FileHandle }[]

  private constructor(root: FileHandle, owner: Owner | undefined) {
    this.#owner = owner
    this.#open = [{ name: Buffer.alloc(0), handle: root }]
  }

  /** `root` must be a folder; only its last part may not be a symlink. Folders that are missing under it are made for `owner`. */
  static async start(root: Buffer, owner: Owner | undefined): Promise<FolderWalk> {
    return new FolderWalk(await open(root, constants.O_RDONLY | constants.O_DIRECTORY), owner)
  }

  /**
   * A path for the file `name` that the kernel resolves without symlinks, except in its last part; valid until the next call.
   * Undefined for the root itself. Throws `invalid_argument/path_escapes` and `failed_precondition/symlink_in_the_way`.
   */
  async reach(name: Buffer): Promise<Buffer | undefined> {
    const names = pathNames(name)
    if (name[0] === 0x2f || names.some((part) => part.equals(Buffer.from('..')))) throw escapes(name)
    const last = names.pop()
    if (!last) return undefined
    let depth = 1
    while (depth <= names.length && this.#open[depth]?.name.equals(names[depth - 1] as Buffer)) depth += 1
    for (const { handle } of this.#open.splice(depth)) await handle.close()
    for (const part of names.slice(depth - 1)) this.#open.push({ name: part, handle: await this.#enter(part, name) })
    return this.#child(last)
  }

  async close(): Promise<void> {
    for (const { handle } of this.#open.splice(0)) await handle.close()
  }

  async #enter(part: Buffer, name: Buffer): Promise<FileHandle> {
    const path = this.#child(part)
    try {
      await mkdir(path, 0o755)
      await give(path, this.#owner)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    try {
      return await open(path, FOLDER)
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      if (code === 'ELOOP' || code === 'ENOTDIR') throw inTheWay(name)
      throw error
    }
  }

  #child(name: Buffer): Buffer {
    const folder = this.#open[this.#open.length - 1] as { handle: FileHandle }
    return Buffer.concat([Buffer.from(`/proc/self/fd/${folder.handle.fd}/`), name])
  }
}

function escapes(name: Buffer): CoppiceError {
  const entry = name.toString('utf8')
  return new CoppiceError(
    'invalid_argument',
    'path_escapes',
    `The archive has a name that leaves the folder: ${JSON.stringify(entry)}.`,
    {
      facts: { entry },
    },
  )
}

function inTheWay(name: Buffer): CoppiceError {
  const entry = name.toString('utf8')
  const message = `${JSON.stringify(entry)} would be written through a symlink or a file.`
  return new CoppiceError('failed_precondition', 'symlink_in_the_way', message, {
    facts: { entry },
    hint: 'Unpack into the folder that the symlink points to, or remove it first.',
  })
}
