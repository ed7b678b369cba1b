import type { BigIntStats } from 'node:fs'
import { lstat, open, readdir, readlink } from 'node:fs/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import { BLOCK_BYTES, encodeHeader, padding } from './header.ts'

const READ_BYTES = 1024 * 1024
const SLASH = Buffer.from('/')

/** `look`: a folder that is only there for what may be taken in it. */
export type Selection = 'take' | 'leave' | 'look'

export interface PackOptions {
  /** Asked about everything but the folder itself, by its path relative to it. Default: all is taken. */
  select?: (path: string, isFolder: boolean) => Selection
  /** Told about what has no meaning elsewhere and is left out: sockets and devices. */
  onSkipped?: (path: string) => void
}

/**
 * A local folder as tar: names relative to it, sorted, with modes, times, symlinks, hard links among its files and empty
 * folders. Owners are not told: they mean nothing in a sandbox.
 *
 * @throws `conflict/file_changed` when a file shrinks while it is read.
 */
export async function* pack(folder: string, options: PackOptions = {}): AsyncGenerator<Buffer> {
  const seen = new Map<string, Buffer>()
  const root = Buffer.from(folder)
  yield header(Buffer.from('.'), '5', await lstat(root, { bigint: true }))
  yield* packEntries(root, Buffer.from('.'), seen, options)
  yield Buffer.alloc(2 * BLOCK_BYTES)
}

async function* packEntries(
  path: Buffer,
  name: Buffer,
  seen: Map<string, Buffer>,
  options: PackOptions,
): AsyncGenerator<Buffer> {
  const entries = await readdir(path, { encoding: 'buffer' })
  for (const entry of entries.sort(Buffer.compare)) {
    const child = Buffer.concat([path, SLASH, entry])
    const childName = Buffer.concat([name, SLASH, entry])
    const stat = await lstat(child, { bigint: true })
    const selection = options.select?.(childName.toString('utf8', 2), stat.isDirectory()) ?? 'take'
    if (selection === 'leave') continue
    if (stat.isDirectory()) {
      const within = packEntries(child, childName, seen, options)
      const first = selection === 'look' ? await within.next() : undefined
      // Nothing in it was taken.
      if (first?.done) continue
      yield header(childName, '5', stat)
      if (first) yield first.value
      yield* within
    } else if (stat.isFile()) yield* packFile(child, childName, stat, seen)
    else if (stat.isSymbolicLink()) yield header(childName, '2', stat, await readlink(child, { encoding: 'buffer' }))
    else if (stat.isFIFO()) yield header(childName, '6', stat)
    else options.onSkipped?.(child.toString())
  }
}

async function* packFile(
  path: Buffer,
  name: Buffer,
  stat: BigIntStats,
  seen: Map<string, Buffer>,
): AsyncGenerator<Buffer> {
  if (stat.nlink > 1n) {
    const inode = `${stat.dev}:${stat.ino}`
    const first = seen.get(inode)
    if (first) {
      yield header(name, '1', stat, first)
      return
    }
    seen.set(inode, name)
  }
  const size = Number(stat.size)
  yield header(name, '0', stat, Buffer.alloc(0), size)
  yield* readExactly(path, size)
  yield padding(size)
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
      if (bytesRead === 0) {
        throw new CoppiceError('conflict', 'file_changed', `${path} became shorter while it was read.`, {
          facts: { path: String(path), size, read: at },
        })
      }
      at += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  } finally {
    await file.close()
  }
}

function header(name: Buffer, type: string, stat: BigIntStats, link: Buffer = Buffer.alloc(0), size = 0): Buffer {
  const mode = Number(stat.mode & 0o7777n)
  return encodeHeader({ name, type, size, mode, mtime: Number(stat.mtimeMs) / 1000, link })
}
