import { BLOCK_BYTES, badArchive, decodeHeader, padding, type TarHeader } from './header.ts'

/** Longest name or extended header that is accepted, bytes. */
const MAX_EXTENSION_BYTES = 1024 * 1024

/** One entry and its content, which must be read (or left) before the next entry is asked for. */
export interface TarEntry extends TarHeader {
  content: AsyncIterable<Buffer>
}

/**
 * The entries of a tar as they come: plain, ustar, GNU and pax. Nothing in it is trusted.
 *
 * @throws `invalid_argument/bad_archive` for anything that is not a whole tar; one that was cut off is never taken for whole.
 */
export async function* readTar(source: AsyncIterable<Buffer>): AsyncGenerator<TarEntry> {
  const blocks = new BlockReader(source)
  try {
    yield* entries(blocks)
  } finally {
    await blocks.close()
  }
}

async function* entries(blocks: BlockReader): AsyncGenerator<TarEntry> {
  let next: Partial<TarHeader> = {}
  for (;;) {
    const header = decodeHeader(await blocks.take(BLOCK_BYTES))
    if (!header) {
      await blocks.drain()
      return
    }
    if ('LKxg'.includes(header.type)) {
      if (header.size > MAX_EXTENSION_BYTES) throw badArchive('a name is too long')
      const content = await blocks.take(header.size)
      await blocks.take(padding(header.size).length)
      if (header.type === 'L') next.name = untilNul(content)
      else if (header.type === 'K') next.link = untilNul(content)
      else if (header.type === 'x') next = { ...next, ...paxFields(content) }
      continue
    }
    const entry = { ...header, ...next }
    next = {}
    let read = 0
    const content = (async function* () {
      while (read < entry.size) {
        const piece = await blocks.some(entry.size - read)
        read += piece.length
        yield piece
      }
    })()
    yield { ...entry, content }
    while (read < entry.size) read += (await blocks.some(entry.size - read)).length
    await blocks.take(padding(entry.size).length)
  }
}

/** Takes exact numbers of bytes from a stream of chunks. */
class BlockReader {
  readonly #chunks: AsyncIterator<Buffer>
  #rest: Buffer = Buffer.alloc(0)

  constructor(source: AsyncIterable<Buffer>) {
    this.#chunks = source[Symbol.asyncIterator]()
  }

  async take(bytes: number): Promise<Buffer> {
    if (bytes === 0) return Buffer.alloc(0)
    const parts: Buffer[] = []
    for (let left = bytes; left > 0; ) {
      const part = await this.some(left)
      parts.push(part)
      left -= part.length
    }
    return parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts, bytes)
  }

  /** At least one byte, at most `max`. A view. */
  async some(max: number): Promise<Buffer> {
    while (this.#rest.length === 0) {
      const next = await this.#chunks.next()
      if (next.done) throw badArchive('it ends too early')
      this.#rest = next.value
    }
    const taken = this.#rest.subarray(0, max)
    this.#rest = this.#rest.subarray(taken.length)
    return taken
  }

  /** Reads what follows the end, so that the connection under it can be used again. */
  async drain(): Promise<void> {
    while (!(await this.#chunks.next()).done);
  }

  /** Lets go of the source. */
  async close(): Promise<void> {
    await this.#chunks.return?.(undefined)
  }
}

function untilNul(content: Buffer): Buffer {
  const end = content.indexOf(0)
  return Buffer.from(end === -1 ? content : content.subarray(0, end))
}

/** `LENGTH KEY=VALUE\n` records. */
function paxFields(content: Buffer): Partial<TarHeader> {
  const fields: Partial<TarHeader> = {}
  for (let at = 0; at < content.length; ) {
    const space = content.indexOf(0x20, at)
    const length = Number(content.toString('latin1', at, space))
    if (space === -1 || !Number.isInteger(length) || length <= space - at || at + length > content.length) {
      throw badArchive('an extended header cannot be read')
    }
    const record = content.subarray(space + 1, at + length - 1)
    const equals = record.indexOf(0x3d)
    const value = record.subarray(equals + 1)
    const key = record.toString('latin1', 0, equals)
    if (key === 'path') fields.name = Buffer.from(value)
    else if (key === 'linkpath') fields.link = Buffer.from(value)
    else if (key === 'size') fields.size = paxNumber(value)
    else if (key === 'mtime') fields.mtime = paxNumber(value)
    else if (key.startsWith('GNU.sparse.')) throw badArchive('it has sparse files')
    at += length
  }
  return fields
}

function paxNumber(value: Buffer): number {
  const number = Number(value.toString('latin1'))
  if (!Number.isFinite(number) || number < 0 || number > Number.MAX_SAFE_INTEGER)
    throw badArchive('a number is out of range')
  return number
}
