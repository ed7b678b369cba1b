import { type Address, inRange, isExact } from './address.ts'
import { type AddressRule, matchesPort, type NameRule, parseRule } from './rule.ts'

/** The rules of one policy, indexed. Rules that cannot be read (of another version) are left out: they allow nothing. */
export class AllowList {
  readonly addresses: readonly AddressRule[]
  readonly names: readonly NameRule[]
  readonly #exact: Map<string, NameRule[]>
  readonly #wildcards: Map<string, NameRule[]>

  constructor(rules: readonly string[]) {
    const parsed = rules.flatMap((text) => {
      try {
        return [parseRule(text)]
      } catch {
        return []
      }
    })
    this.addresses = parsed.filter((rule) => rule.kind === 'address')
    this.names = parsed.filter((rule) => rule.kind === 'name')
    const byName = (wildcard: boolean) =>
      Map.groupBy(
        this.names.filter((rule) => rule.wildcard === wildcard),
        (rule) => rule.name,
      )
    this.#exact = byName(false)
    this.#wildcards = byName(true)
  }

  /** The narrowest rule that allows the name on the port; null: on any. */
  nameRule(name: string, port: number | null): NameRule | undefined {
    const speaks = (rule: NameRule) => matchesPort(rule, port)
    const exact = this.#exact.get(name)?.find(speaks)
    if (exact || this.#wildcards.size === 0) return exact
    for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
      const rule = this.#wildcards.get(name.slice(dot + 1))?.find(speaks)
      if (rule) return rule
    }
    return undefined
  }

  /** A rule that covers the address on the port. @param exact only one for this address alone. */
  addressRule(address: Address, port: number | null, exact: boolean): AddressRule | undefined {
    return this.addresses.find(
      (rule) => (!exact || isExact(rule.range)) && inRange(address, rule.range) && matchesPort(rule, port),
    )
  }
}
