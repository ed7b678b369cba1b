import type { EgressRefusal } from '@coppice/protocol'
import { type AddressClass, EXACT_ONLY } from './policy/classes.ts'
import { type Host, hostPort, hostText } from './policy/host.ts'
import type { Decision } from './policy/judge.ts'
import { NAME_PORTS } from './policy/rule.ts'

/** Why a place is closed, by the word in the record. What is not here speaks for itself. */
const REASONS: Readonly<Record<string, string>> = {
  none: 'this sandbox has no network',
  not_listed: "it is not in this sandbox's allow-list",
  port_25: 'mail to everywhere needs a rule of its own',
  loopback: "it is the gateway host's own loopback",
  link_local: 'it is a link-local address',
  metadata: "it is a cloud's metadata service",
  private: 'it is a private address',
  gateway_address: "it is an address of the gateway's own host",
  gateway_api: "it is the gateway's own API",
  unspecified: 'it is no address of anybody',
  multicast: 'it is a multicast address',
  broadcast: 'it is a broadcast address',
  reserved: 'it is a reserved address',
  teredo: 'it is a Teredo address, which can lead anywhere',
}

/** The refusal of a place, with the command that would allow it where there is one. */
export function denial(sandbox: string, host: Host, port: number, decision: Decision & { ok: false }): EgressRefusal {
  const { rule, address } = decision
  const place = hostPort(host, port)
  const led = host.kind === 'name' && address ? ` (${host.name} is ${address.text})` : ''
  return {
    kind: 'denied',
    rule,
    message: `${place} is not allowed: ${REASONS[rule] ?? rule}${led}.`,
    hint: hintFor(sandbox, host, port, decision),
  }
}

/** The refusal of a name that was only looked up. */
export function nameDenial(name: string, rule: string): string {
  return `${name} is not allowed: ${REASONS[rule] ?? rule}.`
}

/** The rule that allows just this host on this port. */
export function ruleFor(host: Host, port: number): string {
  return host.kind === 'name' && NAME_PORTS.includes(port) ? host.name : hostPort(host, port)
}

function hintFor(sandbox: string, host: Host, port: number, decision: Decision & { ok: false }): string {
  const { rule, address } = decision
  const openedByAddress = rule === 'private' || rule === 'gateway_address' || EXACT_ONLY.has(rule as AddressClass)
  if (openedByAddress && !address) return `No rule allows ${hostText(host)}: it is the sandbox's own.`
  if (openedByAddress && address) return addHint(sandbox, hostPort({ kind: 'address', address }, port))
  if (rule === 'none') return `coppice network set ${sandbox} --mode allow --allow ${ruleFor(host, port)}`
  if (rule === 'not_listed' || rule === 'port_25') return addHint(sandbox, ruleFor(host, port))
  return 'No rule allows it.'
}

function addHint(sandbox: string, rule: string): string {
  return `coppice network set ${sandbox} --allow ${rule}`
}

/** What was asked for cannot be read. */
export const BAD_NAME: EgressRefusal = {
  kind: 'denied',
  rule: 'bad_name',
  message: 'What was asked for is neither a name nor an address with a port.',
  hint: 'No rule allows it.',
}

/** The sandbox has as many connections as it may. */
export function tooMany(max: number): EgressRefusal {
  return {
    kind: 'limit',
    rule: 'limit',
    message: `This sandbox has ${max} connections open already.`,
    hint: 'Close some, or raise egress.maxConnections in the configuration of the gateway.',
  }
}
