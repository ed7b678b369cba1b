import { CoppiceError } from '@coppice/protocol/wire'

/** Tar is made of blocks of this many bytes. */
export const BLOCK_BYTES = 512

/** One entry as its header says it. Names are bytes: they need not be UTF-8. */
export interface TarHeader {
  name: Buffer
  /** `0` file, `1` hard link, `2` symlink, `3` and `4` devices, `5` folder, `6` fifo; `L`, `K`, `x`, `g` tell about the next entry. */
  type: string
  size: number
  mode: number
  /** Seconds since 1970. */
  mtime: number
  link: Buffer
}

/** Longest name that fits in a header, bytes. */
const NAME_BYTES = 100
const USTAR = { at: 257, magic: Buffer.from('ustar\0'), prefixAt: 345, prefixBytes: 155 }
const GNU_MAGIC = Buffer.from('ustar  \0')

/** The blocks that stand for an entry, before its content: GNU's form, which every tar reads and which holds names of any bytes. */
export function encodeHeader(header: TarHeader): Buffer {
  const blocks: Buffer[] = []
  if (header.link.length > NAME_BYTES) blocks.push(...longName('K', header.link))
  if (header.name.length > NAME_BYTES) blocks.push(...longName('L', header.name))
  blocks.push(headerBlock(header))
  return Buffer.concat(blocks)
}

/** The zeros that fill the last block of a content of `size` bytes. */
export function padding(size: number): Buffer {
  return Buffer.alloc((BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES)
}

/** A header block read, or undefined for a block of zeros. @throws `invalid_argument/bad_archive`. */
export function decodeHeader(block: Buffer): TarHeader | undefined {
  if (block.every((byte) => byte === 0)) return undefined
  const sum = block.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0)
  if (number(block, 148, 8) !== sum) throw badArchive('a header has a wrong checksum')
  const name = text(block, 0, NAME_BYTES)
  const prefix = block.subarray(USTAR.at, USTAR.at + 6).equals(USTAR.magic)
    ? text(block, USTAR.prefixAt, USTAR.prefixBytes)
    : Buffer.alloc(0)
  return {
    name: prefix.length > 0 ? Buffer.concat([prefix, Buffer.from('/'), name]) : name,
    type: block[156] === 0 ? '0' : String.fromCharCode(block[156] ?? 0),
    size: number(block, 124, 12),
    mode: number(block, 100, 8),
    mtime: number(block, 136, 12),
    link: text(block, 157, NAME_BYTES),
  }
}

/** The archive cannot be read. */
export function badArchive(detail: string): CoppiceError {
  return new CoppiceError('invalid_argument', 'bad_archive', `The archive cannot be read: ${detail}.`)
}

function longName(type: 'L' | 'K', name: Buffer): Buffer[] {
  const content = Buffer.concat([name, Buffer.from([0])])
  const header = {
    name: Buffer.from('././@LongLink'),
    type,
    size: content.length,
    mode: 0,
    mtime: 0,
    link: Buffer.alloc(0),
  }
  return [headerBlock(header), content, padding(content.length)]
}

function headerBlock(header: TarHeader): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES)
  header.name.copy(block, 0, 0, NAME_BYTES)
  octal(block, 100, 8, header.mode)
  octal(block, 108, 8, 0)
  octal(block, 116, 8, 0)
  octal(block, 124, 12, header.size)
  octal(block, 136, 12, Math.max(0, Math.floor(header.mtime)))
  block.write(header.type, 156)
  header.link.copy(block, 157, 0, NAME_BYTES)
  GNU_MAGIC.copy(block, USTAR.at)
  block.fill(' ', 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}

/** Octal digits and a NUL; a value that needs more digits as base 256 with the highest bit set, as GNU does. */
function octal(block: Buffer, at: number, bytes: number, value: number): void {
  const digits = value.toString(8)
  if (digits.length < bytes) {
    block.write(`${digits.padStart(bytes - 1, '0')}\0`, at)
    return
  }
  block.writeBigUInt64BE(BigInt(value), at + bytes - 8)
  block[at] = 0x80
}

function number(block: Buffer, at: number, bytes: number): number {
  const first = block[at] ?? 0
  if (first & 0x80) {
    let value = first & 0x3f
    for (let index = 1; index < bytes; index += 1) value = value * 256 + (block[at + index] ?? 0)
    if (first & 0x40 || !Number.isSafeInteger(value)) throw badArchive('a header has a number out of range')
    return value
  }
  const digits = text(block, at, bytes).toString('latin1').trim()
  if (!/^[0-7]*$/.test(digits)) throw badArchive('a header has a number that is none')
  return digits === '' ? 0 : Number.parseInt(digits, 8)
}

function text(block: Buffer, at: number, bytes: number): Buffer {
  const field = block.subarray(at, at + bytes)
  const end = field.indexOf(0)
  return Buffer.from(end === -1 ? field : field.subarray(0, end))
}
