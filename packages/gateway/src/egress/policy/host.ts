import { type Address, parseAddress } from './address.ts'

/** What a program asked for: a name, lower case and in ASCII (punycode) without a dot at its end, or an address. */
export type Host = { kind: 'name'; name: string } | { kind: 'address'; address: Address }

/** Characters that would end or change the host when it is read as part of a URL. */
const NOT_IN_A_HOST = /[\s/\\?#@:%[\]<>^|]/
const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/

/**
 * Reads a host as the URL standard does, so that decimal, hexadecimal, octal and short forms, and digits of other scripts, are
 * the addresses that other programs would take them for. Undefined for what is neither a name nor an address.
 */
export function parseHost(text: string): Host | undefined {
  const bare = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text
  const direct = parseAddress(bare)
  if (direct && (bare === text || bare.includes(':'))) return { kind: 'address', address: direct }
  if (bare !== text || bare === '' || bare.length > 1024 || NOT_IN_A_HOST.test(bare)) return undefined
  let { hostname } = URL.parse(`http://${bare}/`) ?? { hostname: '' }
  const address = parseAddress(hostname)
  if (address) return { kind: 'address', address }
  if (hostname.endsWith('.')) hostname = hostname.slice(0, -1)
  if (hostname.length > 253 || !hostname.split('.').every((label) => LABEL.test(label))) return undefined
  return { kind: 'name', name: hostname }
}

/** The host as people write it. */
export function hostText(host: Host): string {
  return host.kind === 'name' ? host.name : host.address.text
}

/** `HOST:PORT`, brackets around IPv6. */
export function hostPort(host: Host, port: number): string {
  const text = hostText(host)
  return text.includes(':') ? `[${text}]:${port}` : `${text}:${port}`
}

/** `localhost` and everything below it: names of loopback by RFC 6761, never asked for outside. */
export function isLocalhost(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost')
}
