import { type BigIntStats, closeSync, constants, lstatSync, openSync, readSync } from 'node:fs'
import { lstat, open, readdir, readlink } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import { gathered } from '../byte-source.ts'
import { BLOCK_BYTES, encodeHeader, padding } from './header.ts'

const READ_BYTES = 1024 * 1024
/** Files up to this size are read at one go, without the way through the thread pool, which costs ten times the read, bytes. */
const SMALL_BYTES = 64 * 1024
/** Entries after which other work of this process gets its turn. */
const TURN_ENTRIES = 100
const SLASH = Buffer.from('/')

/** `look`: a folder that is only there for what may be taken in it. */
export type Selection = 'take' | 'leave' | 'look'

export interface PackOptions {
  /** Asked about everything but the folder itself, by its path relative to it. Default: all is taken. */
  select?: (path: string, isFolder: boolean) => Selection
  /** Told about what has no meaning elsewhere and is left out: sockets and devices. */
  onSkipped?: (path: string) => void
  /** Files that come before those that are found in the folder. */
  first?: { name: string; content: Buffer }[] | undefined
  /** Fed with all of the archive, with every time as 0: two folders that differ in times alone give the same. */
  fingerprint?: { update: (bytes: Buffer) => unknown } | undefined
}

/**
 * A local folder as tar: names relative to it, sorted, with modes, times, symlinks, hard links among its files and empty
 * folders. Owners are not told: they mean nothing in a sandbox.
 *
 * @throws `conflict/file_changed` when a file shrinks while it is read.
 */
export function pack(folder: string, options: PackOptions = {}): AsyncGenerator<Buffer> {
  return gathered(new Packer(options).pack(Buffer.from(folder)))
}

class Packer {
  readonly #options: PackOptions
  /** Names of files that have several, by their inode. */
  readonly #seen = new Map<string, Buffer>()
  #entries = 0

  constructor(options: PackOptions) {
    this.#options = options
  }

  async *pack(root: Buffer): AsyncGenerator<Buffer> {
    yield this.#header(Buffer.from('.'), '5', await lstat(root, { bigint: true }))
    yield* this.#first()
    yield* this.#within(root, Buffer.from('.'))
    yield this.#counted(Buffer.alloc(2 * BLOCK_BYTES))
  }

  *#first(): Generator<Buffer> {
    for (const { name, content } of this.#options.first ?? []) {
      const header = { name: Buffer.from(`./${name}`), type: '0', size: content.length, mode: 0o644, mtime: 0 }
      yield this.#counted(encodeHeader({ ...header, link: Buffer.alloc(0) }))
      yield this.#counted(content)
      yield this.#counted(padding(content.length))
    }
  }

  async *#within(path: Buffer, name: Buffer): AsyncGenerator<Buffer> {
    const entries = await readdir(path, { encoding: 'buffer' })
    for (const entry of entries.sort(Buffer.compare)) {
      this.#entries += 1
      if (this.#entries % TURN_ENTRIES === 0) await setImmediate()
      const child = Buffer.concat([path, SLASH, entry])
      const childName = Buffer.concat([name, SLASH, entry])
      const stat = lstatSync(child, { bigint: true })
      const selection = this.#options.select?.(childName.toString('utf8', 2), stat.isDirectory()) ?? 'take'
      if (selection === 'leave') continue
      if (stat.isDirectory()) yield* this.#folder(child, childName, stat, selection)
      else if (stat.isFile()) yield* this.#file(child, childName, stat)
      else if (stat.isSymbolicLink())
        yield this.#header(childName, '2', stat, await readlink(child, { encoding: 'buffer' }))
      else if (stat.isFIFO()) yield this.#header(childName, '6', stat)
      else this.#options.onSkipped?.(child.toString())
    }
  }

  async *#folder(path: Buffer, name: Buffer, stat: BigIntStats, selection: Selection): AsyncGenerator<Buffer> {
    if (selection === 'take') {
      yield this.#header(name, '5', stat)
      yield* this.#within(path, name)
      return
    }
    let shown = false
    for await (const piece of this.#within(path, name)) {
      // Only now it is known that something in it is taken.
      if (!shown) yield this.#header(name, '5', stat)
      shown = true
      yield piece
    }
  }

  async *#file(path: Buffer, name: Buffer, stat: BigIntStats): AsyncGenerator<Buffer> {
    if (stat.nlink > 1n) {
      const inode = `${stat.dev}:${stat.ino}`
      const first = this.#seen.get(inode)
      if (first) {
        yield this.#header(name, '1', stat, first)
        return
      }
      this.#seen.set(inode, name)
    }
    const size = Number(stat.size)
    yield this.#header(name, '0', stat, Buffer.alloc(0), size)
    if (size > SMALL_BYTES) for await (const piece of readExactly(path, size)) yield this.#counted(piece)
    else if (size > 0) yield this.#counted(readSmall(path, size))
    yield this.#counted(padding(size))
  }

  #header(name: Buffer, type: string, stat: BigIntStats, link: Buffer = Buffer.alloc(0), size = 0): Buffer {
    const mode = Number(stat.mode & 0o7777n)
    this.#options.fingerprint?.update(encodeHeader({ name, type, size, mode, mtime: 0, link }))
    return encodeHeader({ name, type, size, mode, mtime: Number(stat.mtimeMs) / 1000, link })
  }

  #counted(bytes: Buffer): Buffer {
    this.#options.fingerprint?.update(bytes)
    return bytes
  }
}

/** The same as `readExactly`, at one go. What took the file's place since it was looked at (a fifo, a symlink) is not waited for. */
function readSmall(path: Buffer, size: number): Buffer {
  const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const bytes = Buffer.allocUnsafe(size)
    for (let at = 0; at < size; ) {
      const count = readSync(file, bytes, at, size - at, null)
      if (count === 0) throw becameShorter(path, size, at)
      at += count
    }
    return bytes
  } finally {
    closeSync(file)
  }
}

/** The first `size` bytes of a local file. @throws `conflict/file_changed` when it has fewer. */
export async function* readExactly(path: string | Buffer, size: number): AsyncGenerator<Buffer> {
  const file = await open(path, 'r')
  try {
    for (let at = 0; at < size; ) {
      const { bytesRead, buffer } = await file.read(
        Buffer.allocUnsafeSlow(Math.min(READ_BYTES, size - at)),
        0,
        null,
        at,
      )
      if (bytesRead === 0) throw becameShorter(path, size, at)
      at += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  } finally {
    await file.close()
  }
}

function becameShorter(path: string | Buffer, size: number, read: number): CoppiceError {
  return new CoppiceError('conflict', 'file_changed', `${path} became shorter while it was read.`, {
    facts: { path: String(path), size, read },
  })
}
