import { createHash } from 'node:crypto'
import { createReadStream, type Stats } from 'node:fs'
import { link, lstat, readdir, readFile, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { syncFolder } from '@coppice/limits'
import { CoppiceError } from '@coppice/protocol/wire'
import { createWhole, DRAFT_PREFIX, makeFolder, replaceWhole } from './durable.ts'
import { errnoOf, isAbsent, quoted } from './faults.ts'

const NOTE = '.note.json'

/** What is known about something in quarantine, beside it in `<name>.note.json`. */
export interface QuarantineNote {
  /** Where it came from. */
  source: string
  /** Which row of that file, from 0, when it is only a part of it. */
  row?: number
  /** Why it could not be used. One sentence. */
  reason: string
  /** Unix time, ms. */
  at: number
}

/**
 * `COPPICE_HOME/quarantine/<kind>/<name>.<time>`: what could not be used, byte for byte, with a note beside it. The same bytes
 * of the same source are kept once, so that a repair which was killed can be made again.
 */
export class Quarantine {
  readonly #dir: string
  readonly #kinds = new Map<string, Promise<Shelf>>()

  constructor(dir: string) {
    this.#dir = dir
  }

  /**
   * Moves a file or folder here, without copying it: it is never in neither place. Throws what the file system refuses, and then
   * it is still where it was; `failed_precondition/cross_device` when this is another file system.
   */
  async move(kind: string, path: string, reason: string): Promise<string> {
    const shelf = await this.#shelf(kind)
    const stat = await lstat(path)
    const name = basename(path)
    const known = await findSame(shelf, name, (other) => sameFile(path, stat, other))
    const target = known ?? join(shelf.folder, `${name}.${stamp()}`)
    try {
      if (!known && stat.isDirectory()) await rename(path, target)
      else if (!known) await link(path, target)
    } catch (error) {
      throw errnoOf(error) === 'EXDEV' ? crossDevice(path, shelf.folder, error) : error
    }
    await syncFolder(shelf.folder)
    await writeNote(target, { source: path, reason, at: Date.now() })
    if (!stat.isDirectory()) await unlink(path)
    await syncFolder(dirname(path))
    return target
  }

  /** Keeps a part of a file that stays where it is. */
  async keep(kind: string, name: string, bytes: Buffer, note: Omit<QuarantineNote, 'at'>): Promise<string> {
    const shelf = await this.#shelf(kind)
    const known = await findSame(shelf, name, async (other) => (await readFile(other)).equals(bytes))
    const target = known ?? join(shelf.folder, `${name}.${stamp()}`)
    if (!known) await createWhole(target, bytes)
    await writeNote(target, { ...note, at: Date.now() })
    return target
  }

  /** True when something of that name was put here before. */
  async has(kind: string, name: string): Promise<boolean> {
    return (await thingsIn(join(this.#dir, kind))).has(name)
  }

  /** Made once: what a killed repair left unfinished is removed before this one begins something. */
  #shelf(kind: string): Promise<Shelf> {
    const known = this.#kinds.get(kind)
    if (known) return known
    const made = openShelf(join(this.#dir, kind))
    this.#kinds.set(kind, made)
    made.catch(() => this.#kinds.delete(kind))
    return made
  }
}

/** The folder of one kind, and what was in it at first: names without time → paths. */
interface Shelf {
  folder: string
  things: Map<string, string[]>
}

async function openShelf(folder: string): Promise<Shelf> {
  await makeFolder(folder)
  for (const name of await readdir(folder)) if (name.startsWith(DRAFT_PREFIX)) await unlink(join(folder, name))
  return { folder, things: await thingsIn(folder) }
}

async function thingsIn(folder: string): Promise<Map<string, string[]>> {
  const things = new Map<string, string[]>()
  const names = await readdir(folder).catch((error) => {
    if (isAbsent(error)) return []
    throw error
  })
  for (const name of names.sort()) {
    const bare = name.replace(TIMED, '')
    if (bare !== name) things.set(bare, [...(things.get(bare) ?? []), join(folder, name)])
  }
  return things
}

/** Written last: a thing without a note was not finished, and is finished the next time. */
async function writeNote(target: string, note: QuarantineNote): Promise<void> {
  const path = target + NOTE
  try {
    JSON.parse(await readFile(path, 'utf8'))
  } catch {
    await replaceWhole(path, Buffer.from(`${JSON.stringify(note, null, 2)}\n`))
  }
}

async function findSame(
  { things }: Shelf,
  name: string,
  isSame: (path: string) => Promise<boolean>,
): Promise<string | undefined> {
  for (const path of things.get(name) ?? []) if (await isSame(path)) return path
  return undefined
}

const TIMED = /\.\d{8}T\d{9}Z$/

function stamp(): string {
  return new Date().toISOString().replace(/[-:.]/g, '')
}

async function sameFile(path: string, stat: Stats, other: string): Promise<boolean> {
  const there = await lstat(other)
  if (there.ino === stat.ino && there.dev === stat.dev) return true
  if (!stat.isFile() || !there.isFile() || there.size !== stat.size) return false
  return (await sha256(path)) === (await sha256(other))
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

function crossDevice(path: string, folder: string, cause: unknown): CoppiceError {
  const message = `${path} and the quarantine ${folder} are on different file systems, so it stays where it is.`
  return new CoppiceError('failed_precondition', 'cross_device', message, {
    cause,
    facts: { path, folder },
    hint: `cp --archive ${quoted(path)} ${quoted(`${folder}/`)} && rm -r ${quoted(path)}`,
  })
}
