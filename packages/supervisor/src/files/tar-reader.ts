import { CoppiceError } from '@coppice/protocol/wire'
import { ByteInput } from './byte-input.ts'

const BLOCK = 512

/** Names and attributes ahead of an entry: no more than this is held. */
const MAX_EXTENSION_BYTES = 1024 * 1024

/** One entry of a tar archive. Names are bytes. */
export interface TarEntry {
  readonly name: Buffer
  readonly type: 'file' | 'hardlink' | 'symlink' | 'directory' | 'device' | 'fifo'
  readonly mode: number
  readonly mtimeSeconds: number
  readonly size: number
  /** Of a symlink what it holds, of a hard link the name of an earlier entry. */
  readonly link: Buffer
  /** The content of a file; what is not read is skipped. */
  content(): AsyncGenerator<Buffer>
}

const TYPES: Record<string, TarEntry['type']> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'device',
  '4': 'device',
  '5': 'directory',
  '6': 'fifo',
}

/**
 * Reads a tar archive: ustar, GNU long names, pax attributes (path, linkpath, size, mtime). Throws
 * `invalid_argument/malformed_archive`, `invalid_argument/truncated_archive`, `unsupported/unsupported_entry` (sparse files).
 */
export async function* readTar(source: AsyncIterable<Buffer>): AsyncGenerator<TarEntry> {
  const input = new ByteInput(source)
  let next: Extension = {}
  for (;;) {
    const header = await input.take(BLOCK)
    if (header.every((byte) => byte === 0)) return input.drain()
    verifyChecksum(header)
    const type = header.toString('latin1', 156, 157)
    const ownSize = readNumber(header, 124, 12)
    if (type === 'x' || type === 'g' || type === 'L' || type === 'K') {
      const body = await readExtension(input, ownSize)
      if (type !== 'g') next = { ...next, ...parseExtension(type, body) }
      continue
    }
    const known = TYPES[type]
    if (!known) throw unsupported(type)
    const size = known === 'file' ? (next.size ?? ownSize) : 0
    const ownName = readName(header)
    const name = next.path ?? ownName
    let left = size
    yield {
      name,
      type: known === 'file' && name[name.length - 1] === 0x2f ? 'directory' : known,
      mode: readNumber(header, 100, 8) & 0o7777,
      mtimeSeconds: next.mtimeSeconds ?? readNumber(header, 136, 12),
      size,
      link: next.link ?? cString(header.subarray(157, 257)),
      async *content() {
        while (left > 0) {
          const chunk = await input.some(left)
          left -= chunk.length
          yield chunk
        }
      },
    }
    await input.skip(left + padding(size))
    next = {}
  }
}

interface Extension {
  path?: Buffer
  link?: Buffer
  size?: number
  mtimeSeconds?: number
}

async function readExtension(input: ByteInput, size: number): Promise<Buffer> {
  if (size > MAX_EXTENSION_BYTES) throw malformed('an entry has attributes of more than 1 MiB')
  const body = Buffer.from(await input.take(size))
  await input.skip(padding(size))
  return body
}

function parseExtension(type: string, body: Buffer): Extension {
  if (type === 'L') return { path: cString(body) }
  if (type === 'K') return { link: cString(body) }
  const found: Extension = {}
  for (let at = 0; at < body.length; ) {
    const space = body.indexOf(0x20, at)
    const length = Number.parseInt(body.toString('latin1', at, space), 10)
    const equals = body.indexOf(0x3d, space)
    if (space < 0 || equals < 0 || !(length > 0) || at + length > body.length) throw malformed('an attribute is cut')
    const key = body.toString('latin1', space + 1, equals)
    const value = body.subarray(equals + 1, at + length - 1)
    if (key === 'path') found.path = value
    else if (key === 'linkpath') found.link = value
    else if (key === 'size') found.size = Number(value.toString('latin1'))
    else if (key === 'mtime') found.mtimeSeconds = Number(value.toString('latin1'))
    else if (key.startsWith('GNU.sparse.')) throw unsupported('sparse')
    at += length
  }
  return found
}

function readName(header: Buffer): Buffer {
  const name = cString(header.subarray(0, 100))
  // GNU archives use the place of ustar's prefix for other things.
  const isUstar = header.toString('latin1', 257, 263) === 'ustar\0'
  const prefix = isUstar ? cString(header.subarray(345, 500)) : Buffer.alloc(0)
  return prefix.length > 0 ? Buffer.concat([prefix, Buffer.from('/'), name]) : name
}

/** Octal text, or with the top bit set a big-endian number (base 256). */
function readNumber(header: Buffer, at: number, length: number): number {
  if (((header[at] as number) & 0x80) !== 0) {
    let value = (header[at] as number) & 0x7f
    for (let index = at + 1; index < at + length; index++) value = value * 256 + (header[index] as number)
    if (!Number.isSafeInteger(value)) throw malformed('a number is too large')
    return value
  }
  const text = cString(header.subarray(at, at + length))
    .toString('latin1')
    .trim()
  if (!/^[0-7]*$/.test(text)) throw malformed('a number cannot be read')
  return text === '' ? 0 : Number.parseInt(text, 8)
}

function verifyChecksum(header: Buffer): void {
  const stored = readNumber(header, 148, 8)
  let sum = 0
  for (const [index, byte] of header.entries()) sum += index >= 148 && index < 156 ? 0x20 : byte
  if (sum !== stored) throw malformed('a checksum is wrong')
}

function cString(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0)
  return end < 0 ? bytes : bytes.subarray(0, end)
}

function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK
}

function malformed(why: string): CoppiceError {
  return new CoppiceError('invalid_argument', 'malformed_archive', `The archive cannot be read: ${why}.`)
}

function unsupported(type: string): CoppiceError {
  return new CoppiceError(
    'unsupported',
    'unsupported_entry',
    'The archive has an entry of a kind that is not supported.',
    {
      facts: { type },
    },
  )
}
