import { CoppiceError } from '@coppice/protocol'
import { type AddressRange, maskedText, parseRange, rangeText } from './address.ts'
import { parseHost } from './host.ts'

/** Ports of a name rule that names none. */
export const NAME_PORTS: readonly number[] = [80, 443]

export interface NameRule {
  kind: 'name'
  /** Canonical: what two spellings of one rule have in common. */
  text: string
  /** Without `*.`. */
  name: string
  /** Subdomains only, not the name itself. */
  wildcard: boolean
  /** Null: 80 and 443. */
  port: number | null
}

export interface AddressRule {
  kind: 'address'
  text: string
  range: AddressRange
  /** Null: any. */
  port: number | null
}

export type Rule = NameRule | AddressRule

/**
 * Reads one rule of an allow-list.
 * @throws `invalid_argument/bad_rule` that says what is wrong with it.
 */
export function parseRule(text: string): Rule {
  const trimmed = text.trim()
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(trimmed)) throw badRule(text, 'it is a URL', suggestFromUrl(trimmed))
  return parseAddressRule(trimmed) ?? parseNameRule(trimmed, text)
}

/** True when a name rule speaks of the name, whatever the port. */
export function matchesName(rule: NameRule, name: string): boolean {
  return rule.wildcard ? name.endsWith(`.${rule.name}`) : name === rule.name
}

/** True when a rule speaks of the port; any port is meant by null. */
export function matchesPort(rule: Rule, port: number | null): boolean {
  if (port === null) return true
  if (rule.port !== null) return rule.port === port
  return rule.kind === 'address' || NAME_PORTS.includes(port)
}

const BRACKETED = /^\[([^\]]+)\](\/\d{1,3})?(?::(\d{1,5}))?$/
const PLAIN = /^([^:[\]]+)(?::(\d{1,5}))?$/

function parseAddressRule(text: string): AddressRule | undefined {
  const bracketed = BRACKETED.exec(text)
  if (bracketed) {
    const [, base = '', length = '', port] = bracketed
    return base.includes(':') ? addressRule(text, base + length, port) : undefined
  }
  if (text.split(':').length > 2) return addressRule(text, text, undefined)
  const [, base = '', port] = PLAIN.exec(text) ?? []
  const [host = '', ...length] = base.split('/')
  const parsed = host === '' ? undefined : parseHost(host)
  if (parsed?.kind !== 'address') return undefined
  return addressRule(text, [parsed.address.text, ...length].join('/'), port)
}

function addressRule(text: string, rangeAsText: string, port: string | undefined): AddressRule {
  const range = parseRange(rangeAsText)
  if (!range) {
    const meant = maskedText(rangeAsText)
    throw badRule(text, 'it is not an address or a range', meant && `Did you mean ${meant}?`)
  }
  const place = rangeText(range)
  const parsedPort = parsePort(text, port)
  const bracketed = range.base.family === 6 ? bracket(place) : place
  return { kind: 'address', text: parsedPort === null ? place : `${bracketed}:${parsedPort}`, range, port: parsedPort }
}

function bracket(place: string): string {
  const [base, length] = place.split('/')
  return length === undefined ? `[${base}]` : `[${base}]/${length}`
}

function parseNameRule(text: string, given: string): NameRule {
  const [, place = '', port] = PLAIN.exec(text) ?? []
  const wildcard = place.startsWith('*.')
  const host = parseHost(wildcard ? place.slice(2) : place)
  if (host?.kind !== 'name') {
    const everything = place === '*' ? 'For every public address: --network public' : undefined
    throw badRule(given, 'it is neither a name nor an address', everything)
  }
  const parsedPort = parsePort(given, port)
  const shown = wildcard ? `*.${host.name}` : host.name
  return {
    kind: 'name',
    text: parsedPort === null ? shown : `${shown}:${parsedPort}`,
    name: host.name,
    wildcard,
    port: parsedPort,
  }
}

function parsePort(text: string, port: string | undefined): number | null {
  if (port === undefined) return null
  const value = Number(port)
  if (value < 1 || value > 65_535) throw badRule(text, `${port} is not a port`)
  return value
}

function suggestFromUrl(text: string): string | undefined {
  const url = URL.parse(text)
  if (!url || url.hostname === '') return undefined
  return `Did you mean ${url.port === '' ? url.hostname : `${url.hostname}:${url.port}`}?`
}

function badRule(text: string, why: string, hint?: string): CoppiceError {
  const shown = text.length > 100 ? `${text.slice(0, 100)}…` : text
  return new CoppiceError('invalid_argument', 'bad_rule', `"${shown}" is not a rule: ${why}.`, {
    facts: { rule: shown },
    hint: hint ?? 'Rules are HOST, *.HOST, HOST:PORT, ADDRESS, ADDRESS/LENGTH, the last two with :PORT as well.',
  })
}
