import { BLOCK, paddedSize } from '../tar/header.ts'

/** One entry as a test wants it. Names are byte strings (latin1): '\xff' is one byte. */
export interface TestEntry {
  name: string
  /** '0' file, '1' hard link, '2' symlink, '3' and '4' devices, '5' folder, '6' FIFO, or anything at all. */
  type?: string
  body?: Buffer | string
  linkName?: string
  mode?: number
  uid?: number
  gid?: number
  /** Claims another size than the body has. */
  size?: number
  /** Written as a pax header in front. */
  pax?: Record<string, string | Buffer>
  device?: [major: number, minor: number]
}

/** A tar archive with exactly these entries, however wrong they are. */
export function buildTar(entries: TestEntry[], options: { end?: boolean } = {}): Buffer {
  const parts = entries.flatMap(encodeEntry)
  if (options.end !== false) parts.push(Buffer.alloc(2 * BLOCK))
  return Buffer.concat(parts)
}

function encodeEntry(entry: TestEntry): Buffer[] {
  const parts: Buffer[] = []
  if (entry.pax) {
    const records = Buffer.concat(Object.entries(entry.pax).map(([key, value]) => paxRecord(key, Buffer.from(value))))
    parts.push(...encodeEntry({ name: 'PaxHeader', type: 'x', body: records }))
  }
  const body = Buffer.from(entry.body ?? '')
  const block = Buffer.alloc(BLOCK)
  block.write(entry.name.slice(0, 100), 0, 'latin1')
  block.write(octal(entry.mode ?? (entry.type === '5' ? 0o755 : 0o644), 8), 100)
  block.write(octal(entry.uid ?? 0, 8), 108)
  block.write(octal(entry.gid ?? 0, 8), 116)
  block.write(octal(entry.size ?? body.length, 12), 124)
  block.write(octal(0, 12), 136)
  block.write(' '.repeat(8), 148)
  block.write(entry.type ?? '0', 156)
  block.write((entry.linkName ?? '').slice(0, 100), 157, 'latin1')
  block.write('ustar\0', 257)
  block.write('00', 263)
  block.write(octal(entry.device?.[0] ?? 0, 8), 329)
  block.write(octal(entry.device?.[1] ?? 0, 8), 337)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  parts.push(block, body, Buffer.alloc(paddedSize(body.length) - body.length))
  return parts
}

/** The length counts its own digits. */
function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.byteLength(key) + value.length + 3
  let length = rest + 1
  while (String(length).length + rest !== length) length = String(length).length + rest
  return Buffer.concat([Buffer.from(`${length} ${key}=`), value, Buffer.from('\n')])
}

function octal(value: number, length: number): string {
  return `${value.toString(8).padStart(length - 1, '0')}\0`
}
