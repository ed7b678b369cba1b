import { badArchive } from '../faults.ts'
import { BLOCK, checkedSize, decodeHeader, isZeroBlock, paddedSize, type TarHeader } from './header.ts'
import { type PaxRecords, parsePax } from './pax.ts'
import { Slices } from './slices.ts'

/** The longest pax header or GNU long name, bytes: 1 MiB. It is held in memory. */
export const MAX_META_BYTES = 1024 * 1024

/** One entry with everything applied that stood in front of it. Names are byte strings (latin1). */
export interface TarEntry {
  name: string
  /** '0' file, '1' hard link, '2' symlink, '3' and '4' devices, '5' folder, '6' FIFO. */
  type: string
  /** Bytes of its body in the archive. */
  size: number
  linkName: string
}

/**
 * Says what becomes of an entry: `keep` passes it on, `drop` leaves it out, `read` leaves it out and gives its body to
 * `OnBody`. Throws to refuse the archive.
 */
export type Decide = (entry: TarEntry) => 'keep' | 'drop' | 'read'

/** Gets the bytes of the body that is read, without its padding: views on the chunk. `last` with the end of it. */
export type OnBody = (bytes: Buffer, last: boolean) => void

type State =
  | { at: 'header' }
  | { at: 'meta'; type: string; left: number; size: number; parts: Buffer[] }
  | { at: 'sparse'; size: number; keep: boolean }
  | { at: 'body'; left: number; keep: boolean }
  | { at: 'read'; left: number; padding: number }
  | { at: 'end' }

/**
 * Reads a tar stream block by block and passes it on **unchanged**, without the entries that `decide` drops. Because bytes
 * are never decoded and encoded again, whatever the headers hold survives: binary extended attributes, names that are not
 * UTF-8, sparse maps. Memory: one block, plus the headers in front of one entry (four of 1 MiB at most).
 *
 * Everything is refused whose meaning depends on the reader, so that no two programs can see different entries in one
 * archive: bodies on types that have none, global pax headers that set names or sizes, unknown types.
 */
export class TarScanner {
  readonly #decide: Decide
  readonly #onBody: OnBody
  #state: State = { at: 'header' }
  /** The part of a header block that has come so far, when it was cut between two chunks. */
  #partial: Buffer[] = []
  #partialBytes = 0
  /** Headers in front of the next entry: kept or dropped with it. */
  #held: Buffer[] = []
  /** Their types. */
  #seen = ''
  #records: PaxRecords = new Map()
  #longName: string | undefined
  #longLink: string | undefined
  #entries = 0

  constructor(decide: Decide, onBody: OnBody = () => undefined) {
    this.#decide = decide
    this.#onBody = onBody
  }

  /** Entries seen so far, dropped ones included. */
  get entries(): number {
    return this.#entries
  }

  /** Takes a chunk and returns what of it is passed on: views on the chunk wherever possible. */
  push(chunk: Buffer): Buffer[] {
    const out = new Slices(chunk)
    let at = 0
    while (at < chunk.length) at = this.#step(chunk, at, out)
    return out.done()
  }

  /** Call at the end of the stream. Returns the blocks that end the archive. Throws `archive_truncated`. */
  finish(): Buffer {
    const whole = this.#partialBytes === 0 && this.#held.length === 0
    if (this.#state.at !== 'end' && !(this.#state.at === 'header' && whole)) {
      throw badArchive('archive_truncated', 'The archive ends in the middle of an entry.')
    }
    if (this.#entries === 0) throw badArchive('archive_empty', 'The archive holds nothing.')
    return Buffer.alloc(2 * BLOCK)
  }

  /** For readers that can seek: the body of the entry just decided about will not be pushed. */
  skipBody(): void {
    if (this.#state.at === 'sparse') throw badArchive('archive_unsupported_entry', 'The archive holds a sparse file.')
    if (this.#state.at === 'body') this.#state = { at: 'header' }
  }

  #step(chunk: Buffer, at: number, out: Slices): number {
    const state = this.#state
    switch (state.at) {
      case 'header':
      case 'sparse': {
        const block = this.#block(chunk, at)
        if (!block) return chunk.length
        if (state.at === 'header') this.#header(block, out)
        else this.#sparse(state, block, out)
        return block.next
      }
      case 'meta': {
        const end = Math.min(at + state.left, chunk.length)
        state.parts.push(Buffer.from(chunk.subarray(at, end)))
        state.left -= end - at
        if (state.left === 0) this.#meta(state)
        return end
      }
      case 'body': {
        const end = Math.min(at + state.left, chunk.length)
        if (state.keep) out.keep(at, end)
        state.left -= end - at
        if (state.left === 0) this.#state = { at: 'header' }
        return end
      }
      case 'read': {
        const end = Math.min(at + state.left, chunk.length)
        state.left -= end - at
        this.#onBody(chunk.subarray(at, end), state.left === 0)
        if (state.left === 0) this.#state = skipped(state.padding)
        return end
      }
      case 'end':
        return chunk.length
    }
  }

  /** The next whole block, with its place in this chunk where it lies in it entirely. */
  #block(chunk: Buffer, at: number): Block | undefined {
    const missing = BLOCK - this.#partialBytes
    const end = Math.min(at + missing, chunk.length)
    if (this.#partialBytes === 0 && end - at === BLOCK) return { bytes: chunk.subarray(at, end), start: at, next: end }
    this.#partial.push(Buffer.from(chunk.subarray(at, end)))
    this.#partialBytes += end - at
    if (this.#partialBytes < BLOCK) return undefined
    const bytes = Buffer.concat(this.#partial)
    this.#partial = []
    this.#partialBytes = 0
    return { bytes, start: undefined, next: end }
  }

  #header(block: Block, out: Slices): void {
    if (isZeroBlock(block.bytes)) {
      this.#state = { at: 'end' }
      return
    }
    const header = decodeHeader(block.bytes)
    if ('xgLK'.includes(header.type)) {
      if (header.size > MAX_META_BYTES) {
        throw badArchive('archive_header_too_large', 'A header of the archive is too large.', { limit: MAX_META_BYTES })
      }
      this.#held.push(Buffer.from(block.bytes))
      const left = paddedSize(header.size)
      const state = { at: 'meta' as const, type: header.type, left, size: header.size, parts: [] }
      this.#state = state
      if (left === 0) this.#meta(state)
      return
    }
    this.#entry(header, block, out)
  }

  #meta(state: State & { at: 'meta' }): void {
    const padded = Buffer.concat(state.parts)
    this.#held.push(padded)
    const body = padded.subarray(0, state.size)
    if (this.#seen.includes(state.type)) {
      throw badArchive('archive_malformed', 'An entry of the archive has two headers of one kind in front of it.')
    }
    this.#seen += state.type
    if (state.type === 'L') this.#longName = cString(body)
    else if (state.type === 'K') this.#longLink = cString(body)
    else if (state.type === 'x') this.#records = parsePax(body)
    else refuseGlobalNames(parsePax(body))
    this.#state = { at: 'header' }
  }

  #entry(header: TarHeader, block: Block, out: Slices): void {
    const size = this.#records.get('size')
    const entry: TarEntry = {
      name: this.#records.get('GNU.sparse.name') ?? this.#records.get('path') ?? this.#longName ?? header.name,
      type: normalType(header, this.#records.get('path') ?? this.#longName ?? header.name),
      size: size === undefined ? header.size : checkedSize(/^[0-9]+$/.test(size) ? Number(size) : Number.NaN),
      linkName: this.#records.get('linkpath') ?? this.#longLink ?? header.linkName,
    }
    if (entry.type !== '0' && entry.size !== 0) {
      throw badArchive('archive_malformed', `The entry "${entry.name}" has a body, which its type does not allow.`)
    }
    this.#entries++
    const decision = this.#decide(entry)
    const keep = decision === 'keep'
    if (keep) {
      out.add(...this.#held)
      if (block.start === undefined) out.add(block.bytes)
      else out.keep(block.start, block.next)
    }
    this.#held = []
    this.#seen = ''
    this.#records = new Map()
    this.#longName = this.#longLink = undefined
    if (decision === 'read') this.#read(header, entry.size)
    else if (header.sparseContinues) this.#state = { at: 'sparse', size: entry.size, keep }
    else this.#body(entry.size, keep)
  }

  #read(header: TarHeader, size: number): void {
    if (header.type === 'S') throw badArchive('archive_unsupported_entry', 'The archive holds a sparse file.')
    if (size === 0) this.#onBody(Buffer.alloc(0), true)
    this.#state = size === 0 ? { at: 'header' } : { at: 'read', left: size, padding: paddedSize(size) - size }
  }

  #sparse(state: State & { at: 'sparse' }, block: Block, out: Slices): void {
    if (state.keep) out.add(Buffer.from(block.bytes))
    if (block.bytes[504] === 0) this.#body(state.size, state.keep)
  }

  #body(size: number, keep: boolean): void {
    this.#state = size === 0 ? { at: 'header' } : { at: 'body', left: paddedSize(size), keep }
  }
}

function skipped(bytes: number): State {
  return bytes === 0 ? { at: 'header' } : { at: 'body', left: bytes, keep: false }
}

interface Block {
  bytes: Buffer
  /** Where it starts in the current chunk; undefined when it began in an earlier one. */
  start: number | undefined
  next: number
}

/** Types as POSIX has them. Old archives mark folders by a slash at the end of the name alone. */
function normalType(header: TarHeader, name: string): string {
  if (header.type === '0' || header.type === '7') return name.endsWith('/') && header.size === 0 ? '5' : '0'
  if (header.type === 'S') return '0'
  if ('123456'.includes(header.type)) return header.type
  throw badArchive('archive_unsupported_entry', `The archive holds an entry of the unknown type "${header.type}".`)
}

function refuseGlobalNames(records: PaxRecords): void {
  for (const key of records.keys()) {
    if (key === 'path' || key === 'linkpath' || key === 'size' || key.startsWith('GNU.')) {
      throw badArchive('archive_malformed', `The archive sets "${key}" for all of its entries.`)
    }
  }
}

function cString(body: Buffer): string {
  const end = body.indexOf(0)
  return body.toString('latin1', 0, end === -1 ? body.length : end)
}
