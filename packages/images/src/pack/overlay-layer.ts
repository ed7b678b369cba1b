import { randomBytes } from 'node:crypto'
import { fstatSync, write as writeTo } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { diskFull, withStoreFaults } from '../faults.ts'
import { requirePrograms } from '../host/programs.ts'
import { type RunOptions, run } from '../host/run.ts'
import { UserNamespace } from '../unpack/user-namespace.ts'
import { opaqueEntry, whiteoutEntry } from './removal-entries.ts'

/** As layers are unpacked: what it writes is read by that. Holes of files stay holes. */
const TAR = [
  ...['setpriv', '--pdeathsig=KILL', '--', 'tar', '-c', '-f', '-', '--null', '--no-recursion', '--files-from=-'],
  ...[
    '--numeric-owner',
    '--format=posix',
    '--pax-option=delete=atime,delete=ctime',
    '--sparse',
    '--hole-detection=seek',
  ],
  ...['--acls', '--xattrs', '--xattrs-include=user.*', '--xattrs-include=security.capability'],
  '--xattrs-exclude=user.overlay.*',
]

/** Entries that are written at once: 1.5 KiB each. */
const FLUSH_PARTS = 256

const write = promisify(writeTo)

export interface OverlayOptions {
  /** Owner of what root owns in it: id `uidBase + N` becomes N in the layer. 0: as it is. */
  uidBase: number
  /** Paths without a slash in front that are no part of it, with all below them. */
  leaveOut: readonly string[]
  /** Folder with room for lists of what is in it. They have no names there: a crash leaves nothing. */
  scratch: string
}

/**
 * Writes the upper folder of an overlay as an OCI layer, not packed, to an open file, and returns its size: deletions and folders that
 * hide what is below become entries that say so. Nothing may change the folder meanwhile; sockets are left out. The overlay must
 * have been mounted without `redirect_dir` and `metacopy`. Needs the host's root.
 *
 * Throws `failed_precondition/reserved_name` for files whose names a layer cannot hold, `failed_precondition/path_too_long`,
 * `resource_exhausted/disk_full`, `failed_precondition/program_missing`, `internal/program_failed`.
 */
export async function packOverlay(
  upper: string,
  output: number,
  options: OverlayOptions,
  progress: Progress,
): Promise<number> {
  await requirePrograms('find', 'getfattr', 'setpriv', 'tar')
  const [entries, opaque] = [await nameless(options.scratch), await nameless(options.scratch)]
  try {
    await saving(findEverything(options.leaveOut), { cwd: upper, output: entries.fd }, progress)
    await append(output, whiteouts(entries), progress)
    await saving(FIND_OPAQUE, { cwd: upper, output: opaque.fd }, progress)
    await append(output, opaques(opaque, options.leaveOut), progress)
    const namespace = options.uidBase === 0 ? undefined : await UserNamespace.open(options.uidBase)
    try {
      const argv = namespace ? namespace.command(TAR) : TAR
      await saving(argv, { cwd: upper, input: names(entries), output }, progress)
    } finally {
      namespace?.close()
    }
    return fstatSync(output).size
  } finally {
    await Promise.all([entries.close(), opaque.close()])
  }
}

/** Bytes of a path with `./` in front, as a layer can delete it and the kernel can open it: 4096 are its own limit. */
const MAX_PATH_BYTES = 4090

/** What stands for the type of a path that is longer. */
const TOO_LONG = '!'

/**
 * Has `find` write `TYPE PATH NUL` of everything but sockets and what is left out. The first path that is too long is the last one
 * that it writes: with all that may lie below, the list would be far larger than what it is a list of.
 */
function findEverything(leaveOut: readonly string[]): string[] {
  const tooLong = ['-path', `${'?'.repeat(MAX_PATH_BYTES + 1)}*`, '-printf', `${TOO_LONG}%p\\0`, '-quit', '-o']
  const left = leaveOut.flatMap((path) => ['-o', '-path', `./${path}`]).slice(1)
  const prune = left.length === 0 ? [] : ['(', ...left, ')', '-prune', '-o']
  return ['env', 'LC_ALL=C', 'find', '.', ...tooLong, ...prune, '!', '-type', 's', '-printf', '%y%p\\0']
}

/** Says that `getfattr` came to its end. */
const WHOLE = '# status: 0'

/** Ends with whoever has started it. */
const TIED = 'setpriv --pdeathsig=KILL --'

/** `getfattr` itself does not notice when what it writes has no room: it ends with success, and `cat` does not. */
const FIND_OPAQUE = [
  ...['sh', '-c', `${TIED} sh -c '${TIED} "$@"; echo "# status: $?"' sh "$@" | ${TIED} cat`, 'sh'],
  ...['getfattr', '-R', '-P', '-h', '-m', '^trusted\\.overlay\\.opaque$', '.'],
]

interface Listed {
  /** As `find` prints it: `f`, `d`, `l`, `p`, `c`, or `TOO_LONG`. */
  type: string
  /** Bytes, beginning with `./`; `.` is the folder itself. */
  path: Buffer
}

async function* listed(entries: FileHandle): AsyncGenerator<Listed> {
  for await (const entry of cut(entries, 0)) yield { type: String.fromCharCode(entry[0] ?? 0), path: entry.subarray(1) }
}

/** What tar is told to write: everything but devices, which are how an overlay deletes. */
async function* names(entries: FileHandle): AsyncGenerator<Buffer> {
  for await (const { type, path } of listed(entries)) if (type !== 'c') yield Buffer.concat([path, Buffer.alloc(1)])
}

/** What the layer deletes, as entries. */
async function* whiteouts(entries: FileHandle): AsyncGenerator<Buffer> {
  for await (const { type, path } of listed(entries)) {
    if (type === TOO_LONG) throw pathTooLong(path)
    if (type === 'c') yield whiteoutEntry(path)
    else if (isReserved(path)) throw reservedName(path)
  }
}

/** The folders that hide what is below them, as entries. */
async function* opaques(opaque: FileHandle, leaveOut: readonly string[]): AsyncGenerator<Buffer> {
  const mark = Buffer.from('# file: ')
  let last = ''
  for await (const line of cut(opaque, 0x0a)) {
    last = line.subarray(0, WHOLE.length + 1).toString('latin1')
    if (!line.subarray(0, mark.length).equals(mark)) continue
    const path = Buffer.from(`./${plainName(line.subarray(mark.length))}`, 'latin1')
    if (!isBelow(path, leaveOut)) yield opaqueEntry(path)
  }
  if (last !== WHOLE) throw savingFailed('', last, 'getfattr did not come to its end')
}

/** Where the file ends now: whoever has it open writes on from there. */
async function append(output: number, parts: AsyncIterable<Buffer>, progress: Progress): Promise<void> {
  let waiting: Buffer[] = []
  const flush = async (): Promise<void> => {
    progress.throwIfEnded()
    const bytes = Buffer.concat(waiting)
    waiting = []
    for (let at = 0; at < bytes.length; ) at += (await write(output, bytes, at)).bytesWritten
  }
  await withStoreFaults('the saved files', async () => {
    for await (const part of parts) {
      waiting.push(part)
      if (waiting.length >= FLUSH_PARTS) await flush()
    }
    await flush()
  })
}

/** `getfattr` writes unusual bytes of names as `\ooo`. */
function plainName(name: Buffer): string {
  return name
    .toString('latin1')
    .replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
}

/** A file that is gone when it is closed. */
async function nameless(folder: string): Promise<FileHandle> {
  const path = join(folder, `.list-${randomBytes(4).toString('hex')}`)
  return withStoreFaults(path, async () => {
    const file = await open(path, 'wx+', 0o600)
    await rm(path)
    return file
  })
}

/** The parts of a file that end with this byte. */
async function* cut(file: FileHandle, end: number): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of file.createReadStream({ start: 0, autoClose: false })) {
    let bytes = Buffer.concat([rest, chunk as Buffer])
    for (let at = bytes.indexOf(end); at >= 0; at = bytes.indexOf(end)) {
      yield bytes.subarray(0, at)
      bytes = bytes.subarray(at + 1)
    }
    rest = bytes
  }
}

function isReserved(path: Buffer): boolean {
  return path
    .subarray(path.lastIndexOf(0x2f) + 1)
    .toString('latin1')
    .startsWith('.wh.')
}

function isBelow(path: Buffer, leaveOut: readonly string[]): boolean {
  const text = path.toString('latin1').slice(2)
  return leaveOut.some((left) => text === left || text.startsWith(`${left}/`))
}

function reservedName(path: Buffer): CoppiceError {
  const name = JSON.stringify(path.toString('utf8').slice(1, 500))
  return new CoppiceError(
    'failed_precondition',
    'reserved_name',
    `The file ${name} cannot be saved: in a layer, names that begin with ".wh." delete others.`,
    { facts: { path: path.toString('utf8').slice(1, 500) }, hint: 'Give it another name.' },
  )
}

function pathTooLong(path: Buffer): CoppiceError {
  const start = path.toString('utf8').slice(1, 200)
  return new CoppiceError(
    'failed_precondition',
    'path_too_long',
    `A file cannot be saved: its path has more than ${MAX_PATH_BYTES} bytes. It begins with ${JSON.stringify(start)}.`,
    { facts: { path: start, maxBytes: MAX_PATH_BYTES }, hint: 'Move it to a folder that is less deep, or remove it.' },
  )
}

/** Runs a program that must succeed. */
async function saving(argv: string[], options: RunOptions, progress: Progress): Promise<void> {
  const { status, stderr } = await run(argv, options, progress)
  if (status !== 0) throw savingFailed(options.cwd ?? '', status, stderr)
}

function savingFailed(at: string, status: number | string, stderr: string): CoppiceError {
  if (/No space left on device|Disk quota exceeded|Wrote only [0-9]+ of/.test(stderr)) return diskFull(at)
  const said = stderr.trim().split('\n').slice(0, 5).join('\n').slice(0, 1000)
  return new CoppiceError('internal', 'program_failed', `The files could not be saved: ${said}`, {
    facts: { status, stderr },
  })
}
