import { CoppiceError } from '@coppice/protocol/wire'

/** The query of a request. Values are decoded by bytes, so that names that are not UTF-8 come through. */
export class Query {
  readonly #values = new Map<string, Buffer>()

  constructor(text: string) {
    for (const pair of text.split('&')) {
      if (pair === '') continue
      const equals = pair.indexOf('=')
      const name = equals < 0 ? pair : pair.slice(0, equals)
      this.#values.set(decode(name).toString('utf8'), equals < 0 ? Buffer.alloc(0) : decode(pair.slice(equals + 1)))
    }
  }

  flag(name: string): boolean {
    const value = this.#values.get(name)?.toString('latin1')
    return value === '1' || value === 'true'
  }

  /** A whole number from 0 on. Throws `invalid_argument/bad_query`. */
  count(name: string): number | undefined {
    const text = this.#values.get(name)?.toString('latin1')
    if (text === undefined) return undefined
    const value = Number(text)
    if (/^\d{1,16}$/.test(text) && Number.isSafeInteger(value)) return value
    throw badQuery(name, 'a whole number')
  }

  text(name: string): string | undefined {
    return this.#values.get(name)?.toString('utf8')
  }

  /** Bytes as they are; undefined when absent. */
  bytes(name: string): Buffer | undefined {
    return this.#values.get(name)
  }
}

export function badQuery(name: string, expected: string): CoppiceError {
  return new CoppiceError(
    'invalid_argument',
    'bad_query',
    `The query value ${JSON.stringify(name)} must be ${expected}.`,
    {
      facts: { name },
    },
  )
}

/** Percent-decoding into bytes; `+` is a space, as forms and `URLSearchParams` write it. */
function decode(text: string): Buffer {
  const source = Buffer.from(text, 'utf8')
  const bytes = Buffer.allocUnsafe(source.length)
  let length = 0
  for (let at = 0; at < source.length; at++) {
    const byte = source[at] as number
    const hex = byte === 0x25 ? source.toString('latin1', at + 1, at + 3) : ''
    if (/^[0-9a-fA-F]{2}$/.test(hex)) {
      bytes[length++] = Number.parseInt(hex, 16)
      at += 2
    } else bytes[length++] = byte === 0x2b ? 0x20 : byte
  }
  return bytes.subarray(0, length)
}
