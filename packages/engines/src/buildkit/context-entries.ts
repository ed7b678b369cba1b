import { CoppiceError } from '@coppice/protocol/wire'

const BLOCK = 512

/** Bytes of a name that is longer than a header has room for. Linux has paths of 4 KiB. */
const MAX_NAME_BYTES = 64 * 1024

/** One entry of a context's tar. Names are bytes, relative to the context, without `./` and `/` at the end; the context itself has none. */
export interface ContextEntry {
  name: Buffer
  /** `0` file, `1` hard link, `2` symlink, `5` folder, `6` fifo. */
  type: string
  /** Permissions, set-id and sticky bits. */
  mode: number
  size: number
  /** Seconds since 1970. */
  mtime: number
  link: Buffer
}

/** Reads a context's tar, an entry at a time, and its content as it comes: GNU's form, in which contexts are sent. */
export class ContextEntries {
  readonly #chunks: AsyncIterator<Uint8Array>
  #held: Buffer = Buffer.alloc(0)
  /** Bytes of the entry that were not read, and those that fill its last block. */
  #left = 0
  #padding = 0

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]()
  }

  /** The next entry; undefined after the last. What was not read of the one before is skipped. @throws `invalid_argument/bad_context` */
  async next(): Promise<ContextEntry | undefined> {
    let name: Buffer | undefined
    let link: Buffer | undefined
    for (;;) {
      for await (const _ of this.content());
      const block = await this.#take(BLOCK)
      if (block.every((byte) => byte === 0)) return undefined
      // The sum counts its own field as spaces.
      const sum = block.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 0x20 : byte), 0)
      if (numberAt(block, 148, 8) !== sum) throw badContext('a header has a wrong checksum')
      const size = numberAt(block, 124, 12)
      this.#left = size
      this.#padding = (BLOCK - (size % BLOCK)) % BLOCK
      const type = block[156] === 0 ? '0' : String.fromCharCode(block[156] ?? 0)
      if (type === 'L' || type === 'K') {
        if (size > MAX_NAME_BYTES) throw badContext(`a name has more than ${MAX_NAME_BYTES} bytes`)
        const long = textAt(Buffer.concat(await Array.fromAsync(this.content())))
        if (type === 'L') name = long
        else link = long
        continue
      }
      if (!'01256'.includes(type)) throw badContext(`an entry has the type ${JSON.stringify(type)}`)
      if (type !== '0' && size > 0) throw badContext('an entry that is no file has a content')
      return {
        name: relative(name ?? textAt(block.subarray(0, 100))),
        type,
        mode: numberAt(block, 100, 8) & 0o7777,
        size,
        mtime: numberAt(block, 136, 12),
        link: link ?? textAt(block.subarray(157, 257)),
      }
    }
  }

  /** The content of the entry that was read last, as far as it was not read. */
  async *content(): AsyncGenerator<Buffer> {
    while (this.#left > 0) {
      if (this.#held.length === 0) this.#held = await this.#more()
      const part = this.#held.subarray(0, this.#left)
      this.#held = this.#held.subarray(part.length)
      this.#left -= part.length
      yield part
    }
    const padding = this.#padding
    this.#padding = 0
    await this.#take(padding)
  }

  /** Reads what comes after the last entry: a source that fails at its end is heard. */
  async readRest(): Promise<void> {
    this.#held = Buffer.alloc(0)
    while (!(await this.#chunks.next()).done);
  }

  async #take(bytes: number): Promise<Buffer> {
    while (this.#held.length < bytes) this.#held = Buffer.concat([this.#held, await this.#more()])
    const taken = this.#held.subarray(0, bytes)
    this.#held = this.#held.subarray(bytes)
    return taken
  }

  async #more(): Promise<Buffer> {
    const { done, value } = await this.#chunks.next()
    if (done) throw badContext('it ends too early')
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  }
}

/** Where links lead is not looked at: the engine keeps them in the context. */
function relative(name: Buffer): Buffer {
  const text = name.toString('latin1').replace(/^\.\//, '').replace(/\/$/, '')
  if (text.startsWith('/') || text.split('/').includes('..')) throw badContext('a name leads out of it')
  return Buffer.from(text === '.' ? '' : text, 'latin1')
}

function textAt(field: Buffer): Buffer {
  const end = field.indexOf(0)
  return Buffer.from(end === -1 ? field : field.subarray(0, end))
}

/** Octal digits, or base 256 behind a set highest bit. */
function numberAt(block: Buffer, at: number, bytes: number): number {
  const field = block.subarray(at, at + bytes)
  const digits = textAt(field).toString('latin1').trim()
  const value =
    (field[0] ?? 0) & 0x80
      ? field.subarray(1).reduce((sum, byte) => sum * 256 + byte, (field[0] ?? 0) & 0x7f)
      : Number.parseInt(digits === '' ? '0' : digits, 8)
  if (Number.isSafeInteger(value)) return value
  throw badContext('a header has a number that is none')
}

export function badContext(detail: string): CoppiceError {
  return new CoppiceError('invalid_argument', 'bad_context', `The build context cannot be read: ${detail}.`)
}
