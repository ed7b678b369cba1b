import type { EgressRecord, NetworkPolicy, NetworkSuggestion } from '@coppice/protocol'
import { type Address, covers, parseAddress } from './policy/address.ts'
import { AllowList } from './policy/allow-list.ts'
import { classify, embedded } from './policy/classes.ts'
import { type Host, hostPort, isLocalhost } from './policy/host.ts'
import { matchesName, matchesPort, type Rule } from './policy/rule.ts'
import { ruleFor } from './words.ts'

/** Something that was used, as one rule must allow it. */
type Used = { is: 'name'; name: string; port: number | null } | { is: 'address'; address: Address; port: number }

/**
 * The smallest allow-list that would have allowed what was used: rules of the present list that were used and are still needed,
 * and for the rest one rule for each host (80 and 443), host and port, or address and port.
 */
export async function suggest(
  records: AsyncIterable<EgressRecord>,
  present: NetworkPolicy,
): Promise<NetworkSuggestion> {
  const used = new Map<string, Used>()
  let basedOn = 0
  for await (const record of records) {
    basedOn += 1
    for (const use of usesOf(record)) used.set(JSON.stringify([use.is, text(use), use.port]), use)
  }
  const uses = withoutLookups([...used.values()])
  const list = new AllowList(present.allow)
  const kept = needed([...list.names, ...list.addresses], uses)
  const missing = uses.filter((use) => !kept.some((rule) => allows(rule, use)))
  const added = new Set(missing.map(exactRule))
  const keptTexts = new Set(kept.map((rule) => rule.text))
  const texts = [...new Set([...keptTexts, ...added])].sort()
  return {
    present,
    suggested: { mode: 'allow', allow: texts },
    add: texts.filter((rule) => !keptTexts.has(rule)),
    remove: present.allow.filter((rule) => !keptTexts.has(canonical(rule))),
    basedOn,
  }
}

/** Only what the policy let through and that is there: not what was refused, and no misspelt names. */
function usesOf(record: EgressRecord): Used[] {
  const { kind, verdict, name, port, end } = record
  if (verdict === 'denied' || end === 'no_such_name' || (kind === 'name' && verdict === 'failed')) return []
  const address = record.address === null ? undefined : parseAddress(record.address)
  if (name !== null && isLocalhost(name)) return []
  if (kind === 'name') return name === null ? [] : [{ is: 'name', name, port: null }]
  if (port === null) return []
  const uses: Used[] = name === null ? [] : [{ is: 'name', name, port }]
  const open = address !== undefined && [address, ...embedded(address)].every((part) => classify(part) === 'public')
  // An allowed name may lead to any public address; other places must be opened by themselves.
  if (address && (name === null || !open)) uses.push({ is: 'address', address, port })
  return uses
}

/** A look-up needs a rule of its own only when nothing was done with the name. */
function withoutLookups(uses: Used[]): Used[] {
  const connected = new Set(uses.flatMap((use) => (use.is === 'name' && use.port !== null ? [use.name] : [])))
  return uses.filter((use) => use.is === 'address' || use.port !== null || !connected.has(use.name))
}

/** The rules that something used and that the others do not make up for: the widest are the first to go. */
function needed(rules: readonly Rule[], uses: readonly Used[]): Rule[] {
  let kept = rules.filter((rule) => uses.some((use) => allows(rule, use)))
  for (const rule of kept.toSorted((a, b) => width(b) - width(a))) {
    const others = kept.filter((other) => other !== rule)
    const missed = uses.some((use) => allows(rule, use) && !others.some((other) => allows(other, use)))
    if (!missed) kept = others
  }
  return kept
}

function allows(rule: Rule, use: Used): boolean {
  if (!matchesPort(rule, use.port)) return false
  if (use.is === 'name') return rule.kind === 'name' && matchesName(rule, use.name)
  if (rule.kind !== 'address') return false
  const exact = { base: use.address, length: use.address.family === 4 ? 32 : 128 }
  return covers(rule.range, exact)
}

/** How much a rule lets through: more is wider. Only for an order. */
function width(rule: Rule): number {
  const anyPort = rule.port === null ? 1 : 0
  if (rule.kind === 'name') return (rule.wildcard ? 1000 - rule.name.length : 0) + anyPort
  return (rule.range.base.family === 4 ? 32 : 128) - rule.range.length + anyPort
}

function exactRule(use: Used): string {
  if (use.is === 'address') return hostPort({ kind: 'address', address: use.address }, use.port)
  const host: Host = { kind: 'name', name: use.name }
  return use.port === null ? use.name : ruleFor(host, use.port)
}

function canonical(rule: string): string {
  const list = new AllowList([rule])
  return [...list.names, ...list.addresses][0]?.text ?? rule
}

function text(use: Used): string {
  return use.is === 'name' ? use.name : use.address.text
}
