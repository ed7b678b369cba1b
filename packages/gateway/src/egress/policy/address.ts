import { isIPv4, isIPv6 } from 'node:net'

/** An IP address in its one canonical form. IPv4 mapped into IPv6 is IPv4 here: it is dialled as such, so it is judged as such. */
export interface Address {
  family: 4 | 6
  /** 32 or 128 bits. */
  bits: bigint
  /** Dotted decimal, or RFC 5952 without brackets. */
  text: string
}

/** All addresses that share their first `length` bits with `base`. */
export interface AddressRange {
  base: Address
  length: number
}

const MAPPED_PREFIX = 0xffffn << 32n

/** Reads an address as programs write it, zone ids excepted. Undefined for anything else, numeric oddities included: see `host.ts`. */
export function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return address4(bits4(text))
  if (!isIPv6(text) || text.includes('%')) return undefined
  const bits = bits6(text)
  return bits >> 32n === MAPPED_PREFIX >> 32n ? address4(bits & 0xffff_ffffn) : address6(bits)
}

/** The IPv4 address of 32 bits. */
export function address4(bits: bigint): Address {
  const text = [24n, 16n, 8n, 0n].map((shift) => (bits >> shift) & 0xffn).join('.')
  return { family: 4, bits, text }
}

function address6(bits: bigint): Address {
  const groups = Array.from({ length: 8 }, (_, at) => ((bits >> BigInt(112 - at * 16)) & 0xffffn).toString(16))
  return { family: 6, bits, text: new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1) }
}

/** `ADDR` or `ADDR/LENGTH` whose base has no bits beyond the length. Mapped IPv6 ranges are IPv4 ranges. */
export function parseRange(text: string): AddressRange | undefined {
  const [base = '', length, ...more] = text.split('/')
  const address = parseAddress(base)
  if (!address || more.length > 0) return undefined
  const width = address.family === 4 ? 32 : 128
  if (length === undefined) return { base: address, length: width }
  if (!/^\d{1,3}$/.test(length)) return undefined
  // The length of a mapped range counts from the start of the IPv6 address.
  const bits = Number(length) - (address.family === 4 && base.includes(':') ? 96 : 0)
  if (bits < 0 || bits > width) return undefined
  const range = { base: address, length: bits }
  return inRange(address, range) && firstOf(range) === address.bits ? range : undefined
}

/** The same range with the bits beyond its length cleared, as text: what somebody who left them set has meant. */
export function maskedText(text: string): string | undefined {
  const [base = '', length = ''] = text.split('/')
  const address = parseAddress(base)
  const bits = Number(length)
  if (!address || !/^\d{1,3}$/.test(length) || bits > (address.family === 4 ? 32 : 128)) return undefined
  const masked = firstOf({ base: address, length: bits })
  return `${(address.family === 4 ? address4(masked) : address6(masked)).text}/${bits}`
}

/** True when a range has the address. */
export function inRange(address: Address, range: AddressRange): boolean {
  if (address.family !== range.base.family) return false
  const rest = BigInt((address.family === 4 ? 32 : 128) - range.length)
  return address.bits >> rest === range.base.bits >> rest
}

/** True when `outer` has all of `inner`. */
export function covers(outer: AddressRange, inner: AddressRange): boolean {
  return outer.length <= inner.length && inRange(inner.base, outer)
}

/** True for a range of one address. */
export function isExact(range: AddressRange): boolean {
  return range.length === (range.base.family === 4 ? 32 : 128)
}

/** The two halves of an IPv4 range. */
export function halves4(range: AddressRange): [AddressRange, AddressRange] {
  const length = range.length + 1
  const upper = range.base.bits | (1n << BigInt(32 - length))
  return [
    { base: range.base, length },
    { base: address4(upper), length },
  ]
}

/** `ADDR` for one address, `ADDR/LENGTH` for more. */
export function rangeText(range: AddressRange): string {
  return isExact(range) ? range.base.text : `${range.base.text}/${range.length}`
}

function firstOf(range: AddressRange): bigint {
  const rest = BigInt((range.base.family === 4 ? 32 : 128) - range.length)
  return (range.base.bits >> rest) << rest
}

function bits4(text: string): bigint {
  return text.split('.').reduce((bits, part) => (bits << 8n) | BigInt(part), 0n)
}

function bits6(text: string): bigint {
  // The URL parser writes every IPv6 address in one form: hexadecimal groups, at most one `::`, no embedded IPv4.
  const canonical = new URL(`http://[${text}]/`).hostname.slice(1, -1)
  const [head = '', tail] = canonical.split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length
  const groups = [...before, ...Array<string>(zeros).fill('0'), ...after]
  return groups.reduce((bits, group) => (bits << 16n) | BigInt(`0x${group}`), 0n)
}
