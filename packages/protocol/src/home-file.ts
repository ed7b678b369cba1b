import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync, type Stats } from 'node:fs'
import { CoppiceError } from './errors.ts'

/** The small files of a home are much smaller than this, bytes. */
const MAX_BYTES = 1024 * 1024

/**
 * Reads a small file of a home, as text. Never waits, whatever stands in its place. Undefined when it is not there.
 *
 * @param options `noFollow`: it must not be a symlink. `inspect` is told what was opened.
 * @throws `failed_precondition/state_not_a_file` for a folder, a FIFO, a device, links that lead nowhere,
 * `permission_denied/state_unreadable` where this user may not, `unavailable/state_unreadable` for what else the system refuses
 */
export function readHomeFile(
  path: string,
  options: { noFollow?: boolean; inspect?: (stat: Stats) => void } = {},
): string | undefined {
  const fd = openRegular(path, constants.O_RDONLY | (options.noFollow ? constants.O_NOFOLLOW : 0))
  if (fd === undefined) return undefined
  try {
    const stat = fstatSync(fd)
    if (stat.size > MAX_BYTES) throw notAFile(path, `${stat.size} bytes long`)
    options.inspect?.(stat)
    return readFileSync(fd, 'utf8')
  } catch (cause) {
    throw faultOf(path, cause)
  } finally {
    closeSync(fd)
  }
}

/** Opens a file of a home that is locked and never written, made where it is missing, mode 0600. @throws as `readHomeFile` */
export function openLockFile(path: string): number {
  // For reading too: a FIFO would keep who only writes waiting.
  const fd = openRegular(path, constants.O_RDWR | constants.O_CREAT)
  if (fd !== undefined) return fd
  throw new CoppiceError('not_found', 'home_missing', `The folder of ${path} is not there.`, { facts: { path } })
}

/** Undefined when it is not there. `flags` are those of open(2). */
function openRegular(path: string, flags: number): number | undefined {
  let fd: number
  try {
    fd = openSync(path, flags | constants.O_NONBLOCK, 0o600)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENOTDIR') return undefined
    if (code === 'ENOENT') {
      if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) throw notAFile(path, 'a link to nothing', cause)
      return undefined
    }
    throw faultOf(path, cause)
  }
  const stat = fstatSync(fd)
  if (stat.isFile()) return fd
  closeSync(fd)
  throw notAFile(path, kindOf(stat))
}

/** Makes sure that a file of a home can be put in this place: that no folder is there. @throws `failed_precondition/state_not_a_file` */
export function requireNoFolder(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) throw notAFile(path, 'a folder')
}

function kindOf(stat: Stats): string {
  if (stat.isDirectory()) return 'a folder'
  return stat.isFIFO() ? 'a FIFO' : 'a device'
}

function faultOf(path: string, cause: unknown): unknown {
  const { code } = cause as NodeJS.ErrnoException
  if (cause instanceof CoppiceError || code === undefined) return cause
  if (code === 'EISDIR') return notAFile(path, 'a folder', cause)
  if (code === 'ELOOP') return notAFile(path, 'a symbolic link that is not followed, or leads to itself', cause)
  if (code === 'ENXIO') return notAFile(path, 'a socket or a device', cause)
  const denied = code === 'EACCES' || code === 'EPERM'
  return new CoppiceError(
    denied ? 'permission_denied' : 'unavailable',
    'state_unreadable',
    `${path} could not be opened: ${code}.`,
    {
      facts: { path, errno: code },
      hint: denied
        ? 'Run as the user whose gateway it is, or set COPPICE_URL and COPPICE_TOKEN.'
        : `ls -ld ${shellWord(path)}`,
      retryable: false,
      cause,
    },
  )
}

function notAFile(path: string, what: string, cause?: unknown): CoppiceError {
  const word = shellWord(path)
  return new CoppiceError('failed_precondition', 'state_not_a_file', `${path} is ${what}, where a file belongs.`, {
    facts: { path, what },
    hint: `Look with: ls -ld ${word}; then move it away: mv ${word} ${shellWord(`${path}.aside`)}`,
    cause,
  })
}

function shellWord(text: string): string {
  return /^[\w./@:+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
