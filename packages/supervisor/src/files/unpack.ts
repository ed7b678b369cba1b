import { constants } from 'node:fs'
import { chmod, link, lstat, lutimes, mkdir, open, symlink, unlink } from 'node:fs/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import { FolderWalk } from './folder-walk.ts'
import { giveLink, type Owner } from './ownership.ts'
import { readTar, type TarEntry } from './tar-reader.ts'

/**
 * Unpacks a tar archive into an existing folder and resolves to the number of entries. Modes, times, symlinks, hard links and
 * empty folders come out as they went in; everything new belongs to `owner`. Existing files are replaced, existing folders
 * (the root too) stay as they are. Nothing is ever written outside of the folder: see `FolderWalk`. What was unpacked before
 * an error stays.
 */
export async function unpack(source: AsyncIterable<Buffer>, root: Buffer, owner: Owner | undefined): Promise<number> {
  const walk = await FolderWalk.start(root, owner)
  // Hard links need two places at once.
  const targets = await FolderWalk.start(root, owner)
  const folders: TarEntry[] = []
  let entries = 0
  try {
    for await (const entry of readTar(source)) {
      entries += 1
      const path = await walk.reach(entry.name)
      if (path && (await place(entry, path, targets, owner))) folders.push(entry)
    }
    // Last: a folder that may not be written to would refuse its own content, and content changes its time.
    for (const entry of folders.reverse()) {
      const path = await walk.reach(entry.name)
      if (path) await finish(path, entry)
    }
    return entries
  } finally {
    await walk.close()
    await targets.close()
  }
}

/** Makes one entry. True for a folder that is new and still has to get its mode. */
async function place(entry: TarEntry, path: Buffer, targets: FolderWalk, owner: Owner | undefined): Promise<boolean> {
  if (entry.type === 'directory') return makeFolder(path, owner)
  if (entry.type === 'device' || entry.type === 'fifo') throw unsupported(entry)
  await clear(path)
  if (entry.type === 'hardlink') {
    await makeHardLink(entry, path, targets)
    return false
  }
  if (entry.type === 'symlink') {
    await symlink(entry.link, path)
    await giveLink(path, owner)
    await lutimes(path, entry.mtimeSeconds, entry.mtimeSeconds)
    return false
  }
  const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600)
  try {
    for await (const chunk of entry.content()) await file.writeFile(chunk)
    if (owner) await file.chown(owner.uid, owner.gid)
    await file.chmod(entry.mode)
    await file.utimes(entry.mtimeSeconds, entry.mtimeSeconds)
  } finally {
    await file.close()
  }
  return false
}

async function makeFolder(path: Buffer, owner: Owner | undefined): Promise<boolean> {
  const stats = await lstat(path).catch(() => undefined)
  if (stats?.isDirectory()) return false
  if (stats) await unlink(path)
  await mkdir(path, 0o700)
  await giveLink(path, owner)
  return true
}

async function makeHardLink(entry: TarEntry, path: Buffer, targets: FolderWalk): Promise<void> {
  const target = await targets.reach(entry.link)
  if (!target) throw unsupported(entry)
  // `link` does not follow a symlink in its last part.
  await link(target, path)
}

async function finish(path: Buffer, entry: TarEntry): Promise<void> {
  const stats = await lstat(path).catch(() => undefined)
  if (!stats?.isDirectory()) return
  await chmod(path, entry.mode)
  await lutimes(path, entry.mtimeSeconds, entry.mtimeSeconds)
}

async function clear(path: Buffer): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

function unsupported(entry: TarEntry): CoppiceError {
  const name = entry.name.toString('utf8')
  return new CoppiceError('unsupported', 'unsupported_entry', `${JSON.stringify(name)} is a ${entry.type}.`, {
    facts: { entry: name, type: entry.type },
  })
}
