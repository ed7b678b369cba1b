/** Longest ClientHello that is waited for, bytes on the wire. Post-quantum key shares make honest ones about 2 KiB. */
export const MAX_HELLO_BYTES = 16 * 1024

/** `more`: it has not all arrived. `malformed`: it starts like TLS and cannot be a ClientHello. */
export type HelloResult = { is: 'more' } | { is: 'malformed' } | { is: 'hello'; serverName: string | null }

const HANDSHAKE = 22
const CLIENT_HELLO = 1
const RECORD_HEADER_BYTES = 5
/** TLS 1.3 lets a plain record hold this many bytes, and nobody more. */
const MAX_RECORD_BYTES = 16_384
const SERVER_NAME_EXTENSION = 0
const HOST_NAME = 0

/** True while the bytes can be the start of a TLS connection. */
export function looksLikeTls(bytes: Buffer): boolean {
  return bytes[0] === HANDSHAKE && (bytes.length < 2 || bytes[1] === 3)
}

/** Reads the first handshake message of a TLS connection, also when it is spread over records. */
export function readClientHello(bytes: Buffer): HelloResult {
  const pieces: Buffer[] = []
  let have = 0
  for (let at = 0; ; ) {
    const wanted = wantedBytes(pieces, have)
    if (wanted === 'malformed') return { is: 'malformed' }
    if (wanted !== undefined && have >= wanted) return readBody(Buffer.concat(pieces).subarray(4, wanted))
    if (at + RECORD_HEADER_BYTES > bytes.length) return more(bytes, at)
    const length = bytes.readUInt16BE(at + 3)
    if (bytes[at] !== HANDSHAKE || bytes[at + 1] !== 3 || length === 0 || length > MAX_RECORD_BYTES) {
      return { is: 'malformed' }
    }
    const body = bytes.subarray(at + RECORD_HEADER_BYTES, at + RECORD_HEADER_BYTES + length)
    pieces.push(body)
    have += body.length
    at += RECORD_HEADER_BYTES + length
  }
}

function more(bytes: Buffer, at: number): HelloResult {
  const wrong = at < bytes.length && bytes[at] !== HANDSHAKE
  return wrong || bytes.length >= MAX_HELLO_BYTES ? { is: 'malformed' } : { is: 'more' }
}

/** Bytes of the handshake message with its header, as soon as that is known. */
function wantedBytes(pieces: Buffer[], have: number): number | 'malformed' | undefined {
  if (have > 0 && pieces[0]?.[0] !== CLIENT_HELLO) return 'malformed'
  if (have < 4) return undefined
  const header = Buffer.concat(pieces.slice(0, 4)).subarray(0, 4)
  const wanted = 4 + header.readUIntBE(1, 3)
  return wanted > MAX_HELLO_BYTES ? 'malformed' : wanted
}

/** @param body of the message, whole. */
function readBody(body: Buffer): HelloResult {
  try {
    const reader = new Reader(body)
    reader.take(2 + 32)
    reader.take(reader.number(1))
    reader.take(reader.number(2))
    reader.take(reader.number(1))
    if (reader.atEnd) return { is: 'hello', serverName: null }
    const extensions = new Reader(reader.take(reader.number(2)))
    if (!reader.atEnd) return { is: 'malformed' }
    let serverName: string | null = null
    let seen = false
    while (!extensions.atEnd) {
      const type = extensions.number(2)
      const extension = extensions.take(extensions.number(2))
      if (type !== SERVER_NAME_EXTENSION) continue
      // Which of two would the server take? Nobody honest sends two.
      if (seen) return { is: 'malformed' }
      seen = true
      serverName = readServerName(extension)
    }
    return { is: 'hello', serverName }
  } catch {
    return { is: 'malformed' }
  }
}

function readServerName(extension: Buffer): string | null {
  const outer = new Reader(extension)
  const list = new Reader(outer.take(outer.number(2)))
  if (!outer.atEnd) throw new RangeError('more than a list')
  let name: string | null = null
  while (!list.atEnd) {
    const type = list.number(1)
    const value = list.take(list.number(2))
    if (type !== HOST_NAME) continue
    if (name !== null) throw new RangeError('two names')
    name = value.toString('latin1')
  }
  return name
}

/** Takes bytes from the front. Throws a RangeError when there are not enough. */
class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  number(width: number): number {
    return this.take(width).readUIntBE(0, width)
  }

  take(length: number): Buffer {
    const end = this.#at + length
    if (end > this.#bytes.length) throw new RangeError('not enough bytes')
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }
}
