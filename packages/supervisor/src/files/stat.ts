import type { Stats } from 'node:fs'
import { lstat, readlink, stat } from 'node:fs/promises'
import type { FileStat } from '@coppice/protocol/wire'

/** Describes a path. `follow` false describes a symlink itself. Rejects with the error of the file system. */
export async function describe(path: Buffer, follow: boolean): Promise<FileStat> {
  const stats = await (follow ? stat(path) : lstat(path))
  const target = stats.isSymbolicLink() ? await readlink(path, { encoding: 'buffer' }) : undefined
  return toFileStat(path, stats, target)
}

export function toFileStat(path: Buffer, stats: Stats, target?: Buffer): FileStat {
  const text = path.toString('utf8')
  return {
    path: text,
    ...(Buffer.from(text, 'utf8').equals(path) ? {} : { pathBase64: path.toString('base64') }),
    type: typeOf(stats),
    size: stats.size,
    mode: stats.mode & 0o7777,
    uid: stats.uid,
    gid: stats.gid,
    mtimeMs: stats.mtimeMs,
    ...(target === undefined ? {} : { target: target.toString('utf8') }),
  }
}

function typeOf(stats: Stats): FileStat['type'] {
  if (stats.isFile()) return 'file'
  if (stats.isDirectory()) return 'directory'
  if (stats.isSymbolicLink()) return 'symlink'
  if (stats.isFIFO()) return 'fifo'
  return stats.isSocket() ? 'socket' : 'device'
}
