import { badArchive } from '../faults.ts'

/** A tar archive is a sequence of blocks of this many bytes. */
export const BLOCK = 512

/** One header block, decoded. Names are byte strings: one character per byte (latin1), so that nothing is lost. */
export interface TarHeader {
  name: string
  /** The type flag as a character; NUL reads as '0'. */
  type: string
  /** Bytes of the body as the header says, before pax records. */
  size: number
  linkName: string
  /** An old GNU sparse header whose map goes on in extension blocks. */
  sparseContinues: boolean
}

/** Bytes of a body including its padding. */
export function paddedSize(size: number): number {
  return Math.ceil(size / BLOCK) * BLOCK
}

/** True for a block of zeros: the end of an archive. */
export function isZeroBlock(block: Buffer): boolean {
  return block.equals(ZERO_BLOCK)
}

const ZERO_BLOCK = Buffer.alloc(BLOCK)

/** Decodes one block. Throws `invalid_argument/not_an_archive` when its checksum is wrong. */
export function decodeHeader(block: Buffer): TarHeader {
  if (!checksumFits(block)) throw badArchive('not_an_archive', 'This is no tar archive, or a damaged one.')
  const posix = block.toString('latin1', 257, 263) === 'ustar\0'
  const prefix = posix ? text(block, 345, 155) : ''
  const name = text(block, 0, 100)
  const type = block[156] === 0 ? '0' : String.fromCharCode(block[156] ?? 48)
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    type,
    size: number(block, 124, 12),
    linkName: text(block, 157, 100),
    sparseContinues: type === 'S' && block[482] !== 0,
  }
}

function checksumFits(block: Buffer): boolean {
  let sum = 8 * 32
  for (let at = 0; at < BLOCK; at++) if (at < 148 || at >= 156) sum += block[at] ?? 0
  return octal(block, 148, 8) === sum
}

function text(block: Buffer, at: number, length: number): string {
  const end = block.indexOf(0, at)
  return block.toString('latin1', at, end === -1 || end > at + length ? at + length : end)
}

/** Octal digits, or base 256 where the first bit is set (sizes over 8 GiB). */
function number(block: Buffer, at: number, length: number): number {
  const first = block[at] ?? 0
  if ((first & 0x80) === 0) return octal(block, at, length)
  let value = first & 0x7f
  for (let i = at + 1; i < at + length; i++) value = value * 256 + (block[i] ?? 0)
  return checkedSize(value)
}

function octal(block: Buffer, at: number, length: number): number {
  const digits = text(block, at, length).trim()
  if (digits === '') return 0
  if (!/^[0-7]+$/.test(digits))
    throw badArchive('not_an_archive', 'This is no tar archive: a header holds a number that is none.')
  return checkedSize(Number.parseInt(digits, 8))
}

/** Refuses sizes that cannot be counted. The largest file of Linux is smaller. */
export function checkedSize(value: number): number {
  if (!Number.isSafeInteger(value) || value < 0)
    throw badArchive('archive_malformed', 'A tar header holds an impossible size.')
  return value
}

/** The largest size that fits the octal field: 8 GiB less one byte. */
const MAX_OCTAL_SIZE = 0o77777777777

/** A ustar header block for a file, folder or pax header of ours: root's, mode 0644 or 0755 or as given, of no particular time. */
export function encodeHeader(entry: { name: string; type: '0' | '5' | 'x'; size: number; mode?: number }): Buffer {
  const block = Buffer.alloc(BLOCK)
  if (Buffer.byteLength(entry.name) > 100) throw new RangeError('names of more than 100 bytes need a pax header')
  block.write(entry.name, 0)
  const mode = entry.mode ?? (entry.type === '5' ? 0o755 : 0o644)
  block.write(`${mode.toString(8).padStart(7, '0')}\0`, 100)
  block.write('0000000\x000000000\0', 108)
  if (entry.size <= MAX_OCTAL_SIZE) {
    block.write(`${entry.size.toString(8).padStart(11, '0')}\0`, 124)
  } else {
    block[124] = 0x80
    block.writeUIntBE(entry.size, 130, 6)
  }
  block.write('00000000000\0', 136)
  block.write('        ', 148)
  block.write(entry.type, 156)
  block.write('ustar\x0000', 257)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}
