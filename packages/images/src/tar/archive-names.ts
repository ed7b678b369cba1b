import { posix } from 'node:path'
import { badArchive } from '../faults.ts'
import type { TarEntry } from './scanner.ts'

/** Files that an archive of an image may hold: far more than any has. */
const MAX_FILES = 100_000

/** Characters of all names and link targets together: 16 Mi. They are kept in memory, and one name may have a mebibyte. */
const MAX_NAME_CHARACTERS = 16 * 1024 * 1024

/** Links that are followed for one name. */
const MAX_LINKS = 8

/**
 * Files of an archive by name, and the links between them: `docker save` writes a layer that several images share once, and
 * links to it. Names have no leading `./` and are never used as paths.
 */
export class ArchiveNames<Place> {
  readonly #files = new Map<string, Place>()
  readonly #links = new Map<string, string>()
  /** Of names and targets, also of those that were replaced. */
  #characters = 0

  /** Where the file of this name is, whatever links lead there. */
  get(name: string): Place | undefined {
    let at = name
    for (let followed = 0; followed <= MAX_LINKS; followed++) {
      const target = this.#links.get(at)
      if (target === undefined) return this.#files.get(at)
      at = target
    }
    return undefined
  }

  /** Returns what had the name before. */
  set(name: string, place: Place): Place | undefined {
    const before = this.#files.get(name)
    this.#links.delete(name)
    this.#files.set(name, place)
    this.#check(name)
    return before
  }

  /** Remembers a symbolic or hard link; other entries are nothing to it. */
  addLink(entry: TarEntry): void {
    if (entry.type !== '1' && entry.type !== '2') return
    const name = cleanName(entry.name)
    const from = entry.type === '2' ? posix.dirname(name) : '.'
    const target = posix.normalize(posix.join(from, cleanName(entry.linkName)))
    this.#links.set(name, target)
    this.#check(name, target)
  }

  values(): Iterable<Place> {
    return this.#files.values()
  }

  #check(...texts: string[]): void {
    for (const text of texts) this.#characters += text.length
    if (this.#files.size + this.#links.size <= MAX_FILES && this.#characters <= MAX_NAME_CHARACTERS) return
    throw badArchive('archive_malformed', 'The archive holds more files than that of an image can.')
  }
}

/** Without `./` in front and `/` behind. */
export function cleanName(name: string): string {
  let start = 0
  let end = name.length
  // Not by patterns: on a mebibyte of slashes they would take hours.
  while (name.startsWith('./', start)) start += 2
  while (end > start && name[end - 1] === '/') end--
  return name.slice(start, end)
}
