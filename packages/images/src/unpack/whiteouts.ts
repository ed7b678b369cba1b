import { chown, link, lstat, mkdir, rm } from 'node:fs/promises'
import type { Progress } from '@coppice/protocol/wire'
import { badArchive, errnoOf } from '../faults.ts'
import { runChecked } from '../host/run.ts'
import type { LayerRemovals } from '../tar/layer-rules.ts'
import { FolderTimes } from './folder-times.ts'

/** Hard links that one whiteout may have: ext4 allows 65,000. */
const LINKS_PER_NODE = 30_000

/**
 * Turns what a layer deletes into what overlayfs understands: a character device 0/0 for a name that is gone, the attribute
 * `trusted.overlay.opaque` for a folder that hides everything below. Runs as the host's root, which alone may do that, on a
 * folder that nobody else can reach; every folder on the way is looked at first, so that no symlink is followed. The folders keep
 * the times that the layer gives them.
 */
export async function applyRemovals(
  root: string,
  uidBase: number,
  removals: LayerRemovals,
  spare: string,
  progress: Progress,
): Promise<void> {
  const opaque: Buffer[] = []
  const times = new FolderTimes(root)
  for (const folder of removals.opaque) {
    await ensureFolder(root, folder, uidBase, times)
    opaque.push(pathIn(root, folder))
  }
  const nodes = new WhiteoutNodes(spare, progress)
  try {
    for (const name of removals.whiteouts) {
      const folder = name.slice(0, Math.max(0, name.lastIndexOf('/')))
      await ensureFolder(root, folder, uidBase, times)
      const path = pathIn(root, name)
      const kind = await kindOf(path)
      // The layer deletes and adds the same name. A file replaces by itself; a folder must not show the old one through.
      if (kind === 'folder') opaque.push(path)
      if (kind !== 'nothing') continue
      await times.remember(folder)
      await nodes.put(path)
    }
  } finally {
    await nodes.close()
  }
  if (opaque.length > 0) await markOpaque(root, opaque, progress)
  await times.restore(progress)
}

/** One device node is made by `mknod`, all others are hard links to it: a process for each would cost 1 ms each. */
class WhiteoutNodes {
  readonly #spare: string
  readonly #progress: Progress
  #left = 0

  constructor(spare: string, progress: Progress) {
    this.#spare = spare
    this.#progress = progress
  }

  async put(path: Buffer): Promise<void> {
    if (this.#left === 0) {
      await this.close()
      await runChecked(['mknod', this.#spare, 'c', '0', '0'], {}, this.#progress)
      this.#left = LINKS_PER_NODE
    }
    await link(this.#spare, path)
    this.#left--
  }

  close(): Promise<void> {
    return rm(this.#spare, { force: true })
  }
}

/** `setfattr --restore` takes any number of paths from its stdin, with every unusual byte written as `\ooo`. */
async function markOpaque(root: string, paths: Buffer[], progress: Progress): Promise<void> {
  async function* dump() {
    for (const path of paths) yield Buffer.from(`# file: ${escapeBytes(path)}\ntrusted.overlay.opaque="y"\n\n`)
  }
  await runChecked(['setfattr', '--restore=-'], { cwd: root, input: dump() }, progress)
}

function escapeBytes(path: Buffer): string {
  let text = ''
  for (const byte of path) {
    const plain = (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a)
    text +=
      plain || byte === 0x2f || byte === 0x2e ? String.fromCharCode(byte) : `\\${byte.toString(8).padStart(3, '0')}`
  }
  return text
}

/** Makes the folders that a deletion lies in, where the layer does not bring them itself. */
async function ensureFolder(root: string, folder: string, uidBase: number, times: FolderTimes): Promise<void> {
  const parts = folder === '' ? [] : folder.split('/')
  for (let depth = 1; depth <= parts.length; depth++) {
    const path = pathIn(root, parts.slice(0, depth).join('/'))
    const kind = await kindOf(path)
    if (kind === 'other') {
      throw badArchive('archive_symlink_escape', 'The archive deletes a name below something that is no folder.')
    }
    if (kind === 'folder') continue
    await times.remember(parts.slice(0, depth - 1).join('/'))
    await mkdir(path, { mode: 0o755 })
    await chown(path, uidBase, uidBase)
  }
}

async function kindOf(path: Buffer): Promise<'nothing' | 'folder' | 'other'> {
  try {
    return (await lstat(path)).isDirectory() ? 'folder' : 'other'
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 'nothing'
    throw error
  }
}

/** Names are byte strings (latin1). */
function pathIn(root: string, name: string): Buffer {
  return Buffer.concat([Buffer.from(`${root}/`), Buffer.from(name, 'latin1')])
}
