import type { CheckedPlan } from './plan.ts'

/** The table of a sandbox's network namespace that is ours. */
export const TABLE = 'coppice'

/**
 * The rules of a plan as one transaction of `nft -f`: the table before is gone in the moment this one is there.
 *
 * Ports are rewritten in the packets, there and back, rather than by NAT: nothing is tracked. Tracking would cost kernel memory
 * that is on nobody's account for every connection that a hostile sandbox opens (262,144 by default, some 80 MiB), and would
 * make connections depend on the rules that were there when they began.
 */
export function ruleset({ resolver, ranges, ports }: CheckedPlan): string {
  const there = ports.map(({ port, at }) => `${port} : ${at}`)
  const back = ports.map(({ port, at }) => `${at} : ${port}`)
  const dns = ['udp', 'tcp']
  return `add table ip ${TABLE}
delete table ip ${TABLE}
table ip ${TABLE} {
  set ranges { type ipv4_addr; flags interval; auto-merge; ${elements(ranges)} }
  map there { type inet_service : inet_service; ${elements(there)} }
  map back { type inet_service : inet_service; ${elements(back)} }
  set ats { type inet_service; ${elements(ports.map(({ at }) => String(at)))} }
  chain output {
    type filter hook output priority mangle; policy accept;

    ${dns.map((l4) => `ip saddr ${resolver.address} ${l4} sport ${resolver.at} ${l4} sport set 53 accept`).join('\n    ')}
    ip saddr != 127.0.0.0/8 ip saddr @ranges tcp sport set tcp sport map @back accept

    ip daddr 127.0.0.0/8 accept
    ${dns.map((l4) => `ip daddr ${resolver.address} ${l4} dport 53 ${l4} dport set ${resolver.at} accept`).join('\n    ')}
    ip daddr @ranges tcp dport set tcp dport map @there accept

    ip daddr @ranges tcp dport @ats tcp flags & (syn | ack) == syn reject
    ip daddr @ranges tcp flags & (syn | ack) == syn reject with tcp reset
    ip daddr @ranges meta l4proto udp reject
    ip daddr @ranges icmp type echo-request reject with icmp type admin-prohibited
  }
}
`
}

/** Empty braces are a syntax error. */
function elements(list: string[]): string {
  return list.length === 0 ? '' : `elements = { ${list.join(', ')} };`
}
