import { isIPv4 } from 'node:net'
import { CoppiceError } from '@coppice/protocol/wire'
import type { InterceptPlan } from '../../driver.ts'

/** A plan that was looked at: nothing of it needs quoting. */
export interface CheckedPlan {
  resolver: InterceptPlan['resolver']
  /** Network addresses with their length, as `ip` and `nft` print them; the resolver's own among them; no loopback. */
  ranges: string[]
  ports: InterceptPlan['ports']
}

/**
 * Checks a plan and brings it into its canonical form. Ranges of loopback, multicast and reserved addresses are left out: those
 * are never routed elsewhere. Throws `invalid_argument/bad_intercept_plan`.
 */
export function checkPlan(plan: InterceptPlan): CheckedPlan {
  const { resolver, ports } = plan
  if (!isIPv4(resolver.address)) throw bad(`${resolver.address} is no IPv4 address`)
  for (const port of [resolver.at, ...ports.flatMap(({ port, at }) => [port, at])]) {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw bad(`${port} is no port`)
  }
  const distinct = (numbers: number[]): boolean => new Set(numbers).size === numbers.length
  if (!distinct(ports.map(({ port }) => port))) throw bad('a port is named twice')
  if (!distinct([resolver.at, ...ports.map(({ at }) => at)])) throw bad('two ports lead to the same port')
  const ranges = [...plan.ranges, `${resolver.address}/32`].map(canonical).filter(isRoutable)
  return { resolver, ranges: [...new Set(ranges)], ports }
}

function canonical(range: string): string {
  const [address = '', length = '', ...rest] = range.split('/')
  const bits = Number(length)
  if (rest.length > 0 || !isIPv4(address) || !/^\d{1,2}$/.test(length) || bits > 32) throw bad(`${range} is no range`)
  const network = bits === 0 ? 0 : (toNumber(address) & (-1 << (32 - bits))) >>> 0
  return `${toAddress(network)}/${bits}`
}

/** First octet 0, 127 and 224 on: this network, loopback, multicast and reserved. A shorter range may hold them among others. */
function isRoutable(range: string): boolean {
  const [address = '', bits = ''] = range.split('/')
  const first = toNumber(address) >>> 24
  return Number(bits) < 8 || (first !== 0 && first !== 127 && first < 224)
}

function toNumber(address: string): number {
  return address.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0)
}

function toAddress(number: number): string {
  return [24, 16, 8, 0].map((shift) => (number >>> shift) & 255).join('.')
}

function bad(what: string): CoppiceError {
  return new CoppiceError('invalid_argument', 'bad_intercept_plan', `The connections cannot be led: ${what}.`)
}
