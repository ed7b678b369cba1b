import { DEFAULT_INTERCEPT_PORTS, MAX_INTERCEPT_PORTS, NAME_RANGE, type NetworkPolicy } from '@coppice/protocol'
import { type AddressRange, covers, halves4, parseRange, rangeText } from './address.ts'
import { AllowList } from './allow-list.ts'

/** Ports that rules name beyond those that are served anyway. At most 64 in all; rules come first to last. */
export function interceptPorts(policy: NetworkPolicy): number[] {
  if (policy.mode === 'none') return []
  const { names, addresses } = new AllowList(policy.allow)
  const ports = [...names, ...addresses].flatMap(({ port }) => (port === null ? [] : [port]))
  const extra = new Set(ports.filter((port) => !DEFAULT_INTERCEPT_PORTS.includes(port)))
  return [...extra].slice(0, MAX_INTERCEPT_PORTS - DEFAULT_INTERCEPT_PORTS.length)
}

/**
 * Never led away, whatever a rule covers: the sandbox's own loopback and "this host", multicast and what is above it, and the
 * range of names, which is led to the supervisor already.
 */
const KEPT = ['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/3', NAME_RANGE].map((text) => {
  const range = parseRange(text)
  if (!range) throw new Error(`not a range: ${text}`)
  return range
})

/** IPv4 ranges (CIDR) of the address rules, without overlaps, and without the places that are the sandbox's own. */
export function interceptRanges(policy: NetworkPolicy): string[] {
  if (policy.mode === 'none') return []
  const ranges = new AllowList(policy.allow).addresses.map((rule) => rule.range).filter(({ base }) => base.family === 4)
  const widest = ranges.filter(
    (range, at) =>
      !ranges.some((other, otherAt) => covers(other, range) && (otherAt < at || other.length < range.length)),
  )
  return widest.flatMap(withoutKept).map(rangeText)
}

function withoutKept(range: AddressRange): AddressRange[] {
  if (KEPT.some((kept) => covers(kept, range))) return []
  if (!KEPT.some((kept) => covers(range, kept))) return [range]
  return halves4(range).flatMap(withoutKept)
}
