/**
 * Fields of one connection, not of the message (RFC 9110, 7.6.1). `proxy-` ones are left out by their start; `expect` is said
 * again where it is meant.
 */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'te',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect',
])

/** Fields that say where a message goes and where it ends: made anew for each hop, whatever `Connection` says of them. */
const FRAMING = new Set(['host', 'content-length'])

/** Trailer fields that would change what was said in the head. */
const NOT_IN_TRAILERS = new Set([
  ...FRAMING,
  'authorization',
  'cookie',
  'set-cookie',
  'content-encoding',
  'content-type',
])

/** Name and value in turn, as `rawHeaders` has them. */
export type RawHeaders = readonly string[]

/** What of a head is passed on, without framing. */
export function passedOn(raw: RawHeaders): string[] {
  const listed = new Set(valuesOf(raw, 'connection').flatMap((value) => value.toLowerCase().split(/[\s,]+/)))
  return filter(raw, (name) => !isHopByHop(name) && !FRAMING.has(name) && !listed.has(name))
}

/** What of the trailers is passed on, in pairs. */
export function passedTrailers(raw: RawHeaders): [string, string][] {
  const flat = filter(raw, (name) => !isHopByHop(name) && !NOT_IN_TRAILERS.has(name))
  return Array.from({ length: flat.length / 2 }, (_, at) => [flat[at * 2] ?? '', flat[at * 2 + 1] ?? ''])
}

/** All values of a field. @param name in lower case */
export function valuesOf(raw: RawHeaders, name: string): string[] {
  return raw.filter((_, at) => at % 2 === 1 && raw[at - 1]?.toLowerCase() === name)
}

/** A head as bytes, for connections that Node's HTTP has let go of. */
export function rawHead(line: string, raw: RawHeaders): Buffer {
  const fields = raw.map((text, at) => (at % 2 === 0 ? `${text}: ` : `${text}\r\n`)).join('')
  return Buffer.from(`${line}\r\n${fields}\r\n`, 'latin1')
}

function isHopByHop(name: string): boolean {
  return HOP_BY_HOP.has(name) || name.startsWith('proxy-')
}

function filter(raw: RawHeaders, keep: (name: string) => boolean): string[] {
  return raw.filter((_, at) => keep((raw[at - (at % 2)] ?? '').toLowerCase()))
}
