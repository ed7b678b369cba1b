import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'

/** What a preview's `Host` names. */
export interface PreviewAddress {
  /** 1 to 65535. */
  port: number
  /** Id or name of a sandbox, lower case. */
  sandbox: string
}

/** A port as people write it: no sign, no zero in front, so that one port has one address and its pages one origin. */
const PREVIEW_LABEL = /^([1-9]\d{0,4})-([a-z0-9](?:[a-z0-9-]{0,60}[a-z0-9])?)$/

/** The longest label of a host name, RFC 1035. */
const MAX_LABEL = 63

/** Names below which previews are served: `localhost`, and those of the gateway that are names and not addresses. */
export class PreviewHosts {
  readonly #own: ReadonlySet<string>
  readonly #suffixes: readonly string[]

  /** @param names names of the gateway itself, without port; on each that is not an address previews are served below it. */
  constructor(names: Iterable<string>) {
    this.#own = new Set([...names].map((name) => name.toLowerCase()))
    const suffixes = [...this.#own].filter((name) => isName(name)).map((name) => `.${name}`)
    // The longest first: one may end like another.
    this.#suffixes = [...new Set(['.localhost', ...suffixes])].sort((a, b) => b.length - a.length)
  }

  /** True for every host below one of the names, also for one that names no port: none of them is the API's. */
  claims(host: string): boolean {
    const name = hostName(host)
    return !this.#own.has(name) && this.#suffixes.some((suffix) => name.endsWith(suffix))
  }

  /** What a host names; undefined when that is no port of a sandbox. */
  parse(host: string): PreviewAddress | undefined {
    const name = hostName(host)
    const suffix = this.#suffixes.find((one) => name.endsWith(one))
    if (suffix === undefined) return undefined
    const label = name.slice(0, -suffix.length)
    const match = label.length > MAX_LABEL ? null : PREVIEW_LABEL.exec(label)
    const port = Number(match?.[1])
    return match?.[2] !== undefined && port <= 65_535 ? { port, sandbox: match[2] } : undefined
  }

  /** The name of the gateway by which a call came, if previews are served below it; `localhost` otherwise. */
  baseOf(request: IncomingMessage | undefined): string {
    const name = hostName(request?.headers.host ?? '')
    return this.#own.has(name) && isName(name) ? name : 'localhost'
  }
}

/** A `Host` without its port, lower case; empty for anything that is no host. */
export function hostName(host: string): string {
  const match = /^([a-z0-9._-]{1,255})(?::\d{1,5})?$/i.exec(host)
  return (match?.[1] ?? '').toLowerCase()
}

function isName(text: string): boolean {
  return /[a-z]/.test(text) && !text.startsWith('[') && isIP(text) === 0
}
