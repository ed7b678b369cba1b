import { constants } from 'node:fs'
import { chmod, link, lstat, lutimes, mkdir, open, readlink, symlink, unlink } from 'node:fs/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import { badArchive } from './header.ts'
import { readTar, type TarEntry } from './read.ts'

const SLASH = Buffer.from('/')

export interface UnpackOptions {
  /** Leaves mode and time of the folder itself as they are: for one that was there before. */
  keepRoot?: boolean
  /** Told about what is left out: devices and fifos, which a sandbox must not make here. */
  onSkipped?: (name: string) => void
}

/**
 * Unpacks an untrusted tar into a local folder that exists. Nothing is written outside of it: names that leave it are refused,
 * no symlink is walked through, devices are left out, setuid, setgid and sticky bits are dropped, and everything belongs
 * to the caller. What is in the way of a file is replaced; folders are merged.
 *
 * @throws `permission_denied/archive_escapes`, `invalid_argument/bad_archive`, `conflict/in_the_way`.
 */
export async function unpack(
  source: AsyncIterable<Buffer>,
  folder: string,
  options: UnpackOptions = {},
): Promise<void> {
  const place = new Place(Buffer.from(folder))
  const folders: { path: Buffer; mode: number; mtime: number }[] = []
  for await (const entry of readTar(source)) {
    const path = await place.within(entry.name)
    switch (entry.type) {
      case '0':
      case '7':
        if (path) await writeFile(path, entry)
        break
      case '1':
        if (path) await place.hardLink(path, entry.link)
        break
      case '2':
        if (path) await makeSymlink(path, entry)
        break
      case '5':
        if (path) await place.folder(path)
        if (path || !options.keepRoot)
          folders.push({ path: path ?? place.root, mode: entry.mode & 0o777, mtime: entry.mtime })
        break
      case '3':
      case '4':
      case '6':
        options.onSkipped?.(entry.name.toString())
        break
      default:
        throw badArchive(`an entry of the unknown type ${JSON.stringify(entry.type)}`)
    }
  }
  // Last and innermost first: a folder that may not be written must be filled before, and filling changes its time.
  for (const { path, mode, mtime } of folders.reverse()) {
    await chmod(path, mode)
    await lutimes(path, mtime, mtime)
  }
}

/** The folder that is unpacked into, and which folders below it are known to be real ones. */
class Place {
  readonly root: Buffer
  readonly #real = new Set<string>()

  constructor(root: Buffer) {
    this.root = root
  }

  /** Where a name belongs, its folders made; undefined for the root itself. */
  async within(name: Buffer): Promise<Buffer | undefined> {
    const parts = components(name)
    const last = parts.pop()
    if (!last) return undefined
    let path = this.root
    for (const part of parts) {
      path = Buffer.concat([path, SLASH, part])
      await this.folder(path)
    }
    return Buffer.concat([path, SLASH, last])
  }

  /** Makes sure that a real folder, no link to one, is at `path`. */
  async folder(path: Buffer): Promise<void> {
    const key = path.toString('latin1')
    if (this.#real.has(key)) return
    const stat = await lstat(path).catch(() => undefined)
    if (!stat) await mkdir(path)
    else if (!stat.isDirectory()) throw inTheWay(path)
    else if ((stat.mode & 0o700) !== 0o700) await chmod(path, (stat.mode & 0o777) | 0o700)
    this.#real.add(key)
  }

  async hardLink(path: Buffer, target: Buffer): Promise<void> {
    const from = await this.within(target)
    const stat = from && (await lstat(from).catch(() => undefined))
    if (!from || !stat || stat.isDirectory()) throw badArchive(`a hard link to what is not there: ${target}`)
    if (from.equals(path)) return
    await clear(path)
    // A hard link to a symlink is made as that symlink: link(2) may follow it on some systems.
    if (stat.isSymbolicLink()) await symlink(await readlink(from, { encoding: 'buffer' }), path)
    else await link(from, path)
  }
}

async function writeFile(path: Buffer, entry: TarEntry): Promise<void> {
  await clear(path)
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
  const file = await open(path, flags, 0o600)
  try {
    for await (const piece of entry.content) {
      for (let at = 0; at < piece.length; ) at += (await file.write(piece, at)).bytesWritten
    }
    await file.chmod(entry.mode & 0o777)
    await file.utimes(entry.mtime, entry.mtime)
  } finally {
    await file.close()
  }
}

async function makeSymlink(path: Buffer, entry: TarEntry): Promise<void> {
  await clear(path)
  await symlink(entry.link, path)
  await lutimes(path, entry.mtime, entry.mtime)
}

/** Removes what is at `path`, if it is not a folder. */
async function clear(path: Buffer): Promise<void> {
  const stat = await lstat(path).catch(() => undefined)
  if (stat?.isDirectory()) throw inTheWay(path)
  if (stat) await unlink(path)
}

function components(name: Buffer): Buffer[] {
  const parts: Buffer[] = []
  for (let at = 0; at <= name.length; ) {
    const slash = name.indexOf(0x2f, at)
    const end = slash === -1 ? name.length : slash
    const part = name.subarray(at, end)
    const text = part.toString('latin1')
    if (text === '..' || text.includes('\0')) {
      throw new CoppiceError('permission_denied', 'archive_escapes', 'An archive has a name that leaves the folder.', {
        facts: { name: name.toString() },
      })
    }
    if (text !== '' && text !== '.') parts.push(part)
    at = end + 1
  }
  return parts
}

function inTheWay(path: Buffer): CoppiceError {
  return new CoppiceError(
    'conflict',
    'in_the_way',
    `${path} is in the way: a folder and something else want its name.`,
    {
      facts: { path: path.toString() },
    },
  )
}
