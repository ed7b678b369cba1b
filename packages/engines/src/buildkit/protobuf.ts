/** What a field of a message holds: a number, or bytes, which are a text, a message or bytes. */
export interface ProtoField {
  number: number
  value: bigint | Buffer
}

/** The wire types that exist; groups (3 and 4) are gone since long. */
const VARINT = 0
const FIXED64 = 1
const BYTES = 2
const FIXED32 = 5

/** Bytes of the longest number: seven bits in each. */
const MAX_VARINT_BYTES = 10

/**
 * The fields of a protobuf message, in the order in which they come. Nothing is copied.
 * @throws RangeError for what is no message
 */
export function* readFields(message: Buffer): Generator<ProtoField> {
  let at = 0
  const varint = (): bigint => {
    let value = 0n
    for (let read = 0; read < MAX_VARINT_BYTES; read++) {
      const byte = message[at++]
      if (byte === undefined) throw new RangeError('a number of a message is cut')
      value |= BigInt(byte & 0x7f) << BigInt(7 * read)
      if (byte < 0x80) return BigInt.asUintN(64, value)
    }
    throw new RangeError('a number of a message is too long')
  }
  const take = (length: number): Buffer => {
    if (length > message.length - at) throw new RangeError('a field of a message is cut')
    at += length
    return message.subarray(at - length, at)
  }
  while (at < message.length) {
    const key = varint()
    const number = Number(key >> 3n)
    const wireType = Number(key & 7n)
    if (wireType === VARINT) yield { number, value: varint() }
    else if (wireType === BYTES) yield { number, value: take(Number(varint())) }
    else if (wireType === FIXED64) yield { number, value: take(8) }
    else if (wireType === FIXED32) yield { number, value: take(4) }
    else throw new RangeError(`a message has a field of the unknown type ${wireType}`)
  }
}

/** A field that is written: a whole number that is not negative, a text, or bytes. */
export function writeField(number: number, value: number | bigint | string | Uint8Array): Buffer {
  if (typeof value === 'number' || typeof value === 'bigint')
    return Buffer.concat([writeVarint(number * 8 + VARINT), writeVarint(value)])
  const bytes = Buffer.from(value as Uint8Array)
  return Buffer.concat([writeVarint(number * 8 + BYTES), writeVarint(bytes.length), bytes])
}

function writeVarint(value: number | bigint): Buffer {
  const bytes: number[] = []
  let rest = BigInt(value)
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80)
  bytes.push(Number(rest))
  return Buffer.from(bytes)
}

/** A field as text; empty for a number. */
export function textOf({ value }: ProtoField): string {
  return typeof value === 'bigint' ? '' : value.toString('utf8')
}

/** A field as a message or bytes; empty for a number. */
export function bytesOf({ value }: ProtoField): Buffer {
  return typeof value === 'bigint' ? Buffer.alloc(0) : value
}

/** A field as a whole number with a sign; 0 for bytes. */
export function numberOf({ value }: ProtoField): number {
  return typeof value === 'bigint' ? Number(BigInt.asIntN(64, value)) : 0
}
