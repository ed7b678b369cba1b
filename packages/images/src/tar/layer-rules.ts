import { badArchive } from '../faults.ts'
import type { TarEntry } from './scanner.ts'

/** The kernel's longest path, bytes, with its end. */
const PATH_MAX = 4096

/** Memory for what must be remembered about links, whiteouts and dropped devices of one layer, bytes: 64 MiB. */
const MAX_REMEMBERED_BYTES = 64 * 1024 * 1024

/** Symlinks that are followed in one path before it is taken for a circle: as many as the kernel follows. */
const MAX_LINKS = 40

/** Names in an OCI layer that delete instead of adding. */
const WHITEOUT = '.wh.'
const OPAQUE = '.wh..wh..opq'
/** Folders and files in which an older layering file system kept its own books. */
const METADATA = '.wh..wh.'

/** What a layer takes away from the layers below it. Paths are byte strings (latin1) relative to the layer's root. */
export interface LayerRemovals {
  /** Single names that are gone. */
  whiteouts: string[]
  /** Folders of which nothing lower shows through; '' is the root. */
  opaque: string[]
}

/**
 * Decides about the entries of one layer. Refuses (`invalid_argument`) what would leave the folder it is unpacked into:
 * absolute names and `..` (`archive_path_escape`), writing through a symlink that leads out (`archive_symlink_escape`),
 * hard links to the outside (`archive_hardlink_escape`). Drops device nodes (a sandbox has its own /dev) and whiteouts,
 * which it collects.
 */
export class LayerRules {
  readonly removals: LayerRemovals = { whiteouts: [], opaque: [] }
  readonly #symlinks = new Map<string, string>()
  readonly #devices = new Set<string>()
  #remembered = 0

  decide(entry: TarEntry): 'keep' | 'drop' {
    const path = relativePath(entry.name, 'archive_path_escape')
    if (path === '' && entry.type !== '5') throw badArchive('archive_path_escape', 'The archive replaces its own root.')
    if (
      path
        .split('/')
        .slice(0, -1)
        .some((part) => part.startsWith(METADATA))
    )
      return 'drop'
    this.#checkFolders(path)
    const slash = path.lastIndexOf('/')
    const base = path.slice(slash + 1)
    if (base.startsWith(WHITEOUT)) {
      this.#whiteout(slash === -1 ? '' : path.slice(0, slash), base)
      return 'drop'
    }
    if (entry.type === '3' || entry.type === '4') {
      this.#remember(path)
      this.#devices.add(path)
      return 'drop'
    }
    this.#devices.delete(path)
    if (entry.type === '1') return this.#hardLink(path, entry)
    if (entry.type === '2') {
      this.#remember(path, entry.linkName)
      this.#symlinks.set(path, entry.linkName)
    } else {
      this.#symlinks.delete(path)
    }
    return 'keep'
  }

  #hardLink(path: string, entry: TarEntry): 'keep' | 'drop' {
    const target = relativePath(entry.linkName, 'archive_hardlink_escape')
    this.#checkFolders(target)
    if (this.#devices.has(target)) return 'drop'
    const symlink = this.#symlinks.get(target)
    if (symlink === undefined) {
      this.#symlinks.delete(path)
    } else {
      this.#remember(path)
      this.#symlinks.set(path, symlink)
    }
    return 'keep'
  }

  #whiteout(folder: string, base: string): void {
    if (base === OPAQUE) {
      this.#remember(folder)
      this.removals.opaque.push(folder)
      return
    }
    if (base.startsWith(METADATA)) return
    const name = base.slice(WHITEOUT.length)
    if (name === '' || name === '.' || name === '..') {
      throw badArchive('archive_path_escape', 'The archive deletes a name that cannot be deleted.', {
        name: printable(base),
      })
    }
    const path = folder === '' ? name : `${folder}/${name}`
    this.#remember(path)
    this.removals.whiteouts.push(path)
  }

  /** Every folder on the way must be real, or a symlink that stays inside without going upwards. */
  #checkFolders(path: string): void {
    if (this.#symlinks.size === 0) return
    let pending = path.split('/')
    let done: string[] = []
    let followed = 0
    while (pending.length > 1) {
      done.push(pending.shift() ?? '')
      const target = this.#symlinks.get(done.join('/'))
      if (target === undefined) continue
      const parts = target.split('/').filter((part) => part !== '' && part !== '.')
      if (target.startsWith('/') || parts.includes('..') || ++followed > MAX_LINKS) {
        throw badArchive('archive_symlink_escape', `The archive writes "${printable(path)}" through a symbolic link.`, {
          link: printable(done.join('/')),
          target: printable(target),
        })
      }
      pending = [...done.slice(0, -1), ...parts, ...pending]
      done = []
    }
  }

  #remember(...texts: string[]): void {
    for (const text of texts) this.#remembered += text.length + 64
    if (this.#remembered > MAX_REMEMBERED_BYTES) {
      throw badArchive('archive_too_many_links', 'The archive holds more links and deletions than a layer can have.')
    }
  }
}

/**
 * A name from an archive as a path below its root, without `.` parts; '' for the root itself. Throws `invalid_argument`
 * with `reason` for a path that is absolute, goes upwards, or is too long for the kernel.
 */
function relativePath(name: string, reason: string): string {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.')
  if (name.startsWith('/') || name.includes('\0') || name.length >= PATH_MAX || name === '' || parts.includes('..')) {
    throw badArchive(reason, `The archive holds the name "${printable(name)}", which leads out of it.`)
  }
  return parts.join('/')
}

/** For messages: at most 200 characters, nothing that a terminal would obey. */
function printable(bytes: string): string {
  const text = Buffer.from(bytes, 'latin1').toString('utf8')
  return text.length > 200 ? `${clean(text.slice(0, 200))}…` : clean(text)
}

function clean(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, '?')
}
