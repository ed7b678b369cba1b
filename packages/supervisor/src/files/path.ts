import { lstat, readlink, realpath } from 'node:fs/promises'
import { CoppiceError } from '@coppice/protocol/wire'

/**
 * Paths are bytes, not text: names in a sandbox need not be UTF-8.
 *
 * What follows symlinks: reading and writing a file, stat (unless asked not to), the folder of a list or an archive, and every
 * part of a path but its last. What never follows: moving and removing (the symlink itself goes), the entries of a list
 * (they are described as symlinks), the entries of an archive (stored as symlinks), and unpacking (a symlink in the way is
 * refused). A file that is written through a symlink is replaced where the symlink points; the symlink stays.
 */
const SLASH = 0x2f
const MAX_PATH_BYTES = 4096

/** As many as Linux follows. */
const MAX_SYMLINKS = 40

/** An absolute path from a request; a relative one counts from the root. Throws `invalid_argument/invalid_path`. */
export function requirePath(bytes: Buffer | undefined): Buffer {
  if (!bytes || bytes.length === 0) throw invalid('A path is needed.')
  if (bytes.includes(0)) throw invalid('A path has no NUL.')
  if (bytes.length >= MAX_PATH_BYTES) throw invalid(`A path may have ${MAX_PATH_BYTES - 1} bytes.`)
  return bytes[0] === SLASH ? bytes : Buffer.concat([Buffer.from('/'), bytes])
}

export function joinPath(dir: Buffer, name: Buffer): Buffer {
  const separator = dir[dir.length - 1] === SLASH ? '' : '/'
  return Buffer.concat([dir, Buffer.from(separator), name])
}

/** The folder and the last name of an absolute path. The root has an empty name. */
export function splitPath(path: Buffer): { dir: Buffer; name: Buffer } {
  let end = path.length
  while (end > 1 && path[end - 1] === SLASH) end -= 1
  const at = path.lastIndexOf(SLASH, end - 1)
  return { dir: path.subarray(0, Math.max(at, 1)), name: path.subarray(at + 1, end) }
}

/** The names in a path, without empty ones and `.`. */
export function pathNames(path: Buffer): Buffer[] {
  const names: Buffer[] = []
  for (let start = 0; start <= path.length; ) {
    const slash = path.indexOf(SLASH, start)
    const end = slash < 0 ? path.length : slash
    const name = path.subarray(start, end)
    if (name.length > 0 && !name.equals(Buffer.from('.'))) names.push(name)
    start = end + 1
  }
  return names
}

/**
 * Where a file that is written to `path` really is: symlinks resolved, also the last one, even when it points to nothing yet.
 * The folder must exist.
 */
export async function resolveTarget(path: Buffer): Promise<Buffer> {
  let at = path
  for (let followed = 0; followed < MAX_SYMLINKS; followed++) {
    const { dir, name } = splitPath(at)
    const real = joinPath(await realpath(dir, { encoding: 'buffer' }), name)
    const stat = await lstat(real).catch(() => undefined)
    if (!stat?.isSymbolicLink()) return real
    const target = await readlink(real, { encoding: 'buffer' })
    at = target[0] === SLASH ? target : joinPath(splitPath(real).dir, target)
  }
  throw new CoppiceError('failed_precondition', 'too_many_symlinks', 'The path leads through too many symlinks.')
}

function invalid(message: string): CoppiceError {
  return new CoppiceError('invalid_argument', 'invalid_path', message)
}
