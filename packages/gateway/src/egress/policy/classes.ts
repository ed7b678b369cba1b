import { type Address, type AddressRange, address4, inRange, parseRange } from './address.ts'

/**
 * What kind of place an address is. `public` is reached where the policy says so; `private` when any address rule covers it;
 * `loopback`, `link_local` and `metadata` only when a rule names that one address; the others never.
 */
export type AddressClass =
  | 'public'
  | 'private'
  | 'loopback'
  | 'link_local'
  | 'metadata'
  | 'unspecified'
  | 'multicast'
  | 'broadcast'
  | 'reserved'
  | 'teredo'

/** Classes that no rule opens. */
export const NEVER: ReadonlySet<AddressClass> = new Set([
  'unspecified',
  'multicast',
  'broadcast',
  'reserved',
  'teredo',
] as const)

/** Classes that only a rule for the one address opens. */
export const EXACT_ONLY: ReadonlySet<AddressClass> = new Set(['loopback', 'link_local', 'metadata'] as const)

/**
 * First match decides. After the IANA special-purpose registries; the metadata addresses are those that the providers document
 * (AWS, Google, Azure, Alibaba, Oracle, Scaleway). Documentation ranges count as public: tests and labs live there.
 */
const CLASSES: readonly (readonly [AddressRange, AddressClass])[] = (
  [
    ['169.254.169.254', 'metadata'],
    ['169.254.169.253', 'metadata'],
    ['169.254.169.123', 'metadata'],
    ['169.254.170.2', 'metadata'],
    ['169.254.170.23', 'metadata'],
    ['169.254.42.42', 'metadata'],
    ['100.100.100.200', 'metadata'],
    ['168.63.129.16', 'metadata'],
    ['192.0.0.192', 'metadata'],
    ['0.0.0.0/8', 'unspecified'],
    ['127.0.0.0/8', 'loopback'],
    ['169.254.0.0/16', 'link_local'],
    ['10.0.0.0/8', 'private'],
    ['172.16.0.0/12', 'private'],
    ['192.168.0.0/16', 'private'],
    ['100.64.0.0/10', 'private'],
    ['198.18.0.0/15', 'private'],
    ['192.0.0.0/24', 'reserved'],
    ['192.88.99.0/24', 'reserved'],
    ['224.0.0.0/4', 'multicast'],
    ['255.255.255.255', 'broadcast'],
    ['240.0.0.0/4', 'reserved'],
    ['0.0.0.0/0', 'public'],
    ['fd00:ec2::254', 'metadata'],
    ['fd00:ec2::253', 'metadata'],
    ['fd00:ec2::123', 'metadata'],
    ['fd00:ec2::23', 'metadata'],
    ['fd20:ce::254', 'metadata'],
    ['fd00:42::42', 'metadata'],
    ['::', 'unspecified'],
    ['::1', 'loopback'],
    ['::ffff:0:0:0/96', 'public'],
    ['::/96', 'public'],
    ['64:ff9b::/96', 'public'],
    ['64:ff9b:1::/48', 'private'],
    ['2001::/32', 'teredo'],
    ['2001:2::/48', 'private'],
    ['2001:db8::/32', 'public'],
    ['2001:10::/28', 'reserved'],
    ['2001:20::/28', 'reserved'],
    ['2001:30::/28', 'reserved'],
    ['3fff::/20', 'public'],
    ['2000::/3', 'public'],
    ['5f00::/16', 'private'],
    ['fc00::/7', 'private'],
    ['fec0::/10', 'private'],
    ['fe80::/10', 'link_local'],
    ['ff00::/8', 'multicast'],
    ['::/0', 'reserved'],
  ] as const
).map(([text, kind]) => [rangeOf(text), kind])

/** The class of an address by itself. What it carries inside must be judged as well: `embedded`. */
export function classify(address: Address): AddressClass {
  for (const [range, kind] of CLASSES) if (inRange(address, range)) return kind
  return 'reserved'
}

/** Ranges whose last 32 bits are an IPv4 address: NAT64 (both), IPv4-compatible, IPv4-translated. */
const LAST_32 = ['64:ff9b::/96', '64:ff9b:1::/48', '::/96', '::ffff:0:0:0/96'].map(rangeOf)
const SIX_TO_FOUR = rangeOf('2002::/16')
/** Interface ids of ISATAP, without the bit that says whether the IPv4 address is unique. */
const ISATAP = 0x0000_5efen

/** IPv4 addresses that somebody on the way may unpack from an IPv6 one and send to. */
export function embedded(address: Address): Address[] {
  if (address.family === 4) return []
  // `::` and `::1` have no address in them.
  if (address.bits <= 1n) return []
  const last = address4(address.bits & 0xffff_ffffn)
  if (LAST_32.some((range) => inRange(address, range))) return [last]
  const found: Address[] = []
  if (inRange(address, SIX_TO_FOUR)) found.push(address4((address.bits >> 80n) & 0xffff_ffffn))
  if (((address.bits >> 32n) & 0xfdff_ffffn) === ISATAP) found.push(last)
  return found
}

function rangeOf(text: string): AddressRange {
  const range = parseRange(text)
  if (!range) throw new Error(`not a range: ${text}`)
  return range
}
