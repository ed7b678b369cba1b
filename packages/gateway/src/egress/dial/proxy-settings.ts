import { type AddressRange, inRange, parseRange } from '../policy/address.ts'
import { type Host, hostText, parseHost } from '../policy/host.ts'

/** A proxy that stands between the gateway and the world. */
export interface UpstreamProxy {
  /** The connection to it is TLS. */
  tls: boolean
  host: string
  port: number
  /** Value of `Proxy-Authorization`. */
  authorization: string | undefined
  /** It has refused CONNECT for a plain request, and is asked with requests in full from then on. */
  plainInFull: boolean
}

interface Exception {
  /** `*`: everything. */
  any: boolean
  name: string | undefined
  range: AddressRange | undefined
  port: number | undefined
}

/** The gateway's own `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`; lower case wins, as with curl. */
export class ProxySettings {
  readonly #http: UpstreamProxy | undefined
  readonly #https: UpstreamProxy | undefined
  readonly #exceptions: readonly Exception[]

  /** Variables that cannot be read are as if they were not set; `onBad` is told. */
  constructor(env: NodeJS.ProcessEnv, onBad: (variable: string) => void = () => {}) {
    const proxy = (name: string) => {
      const value = env[name.toLowerCase()] || env[name]
      if (!value) return undefined
      const parsed = parseProxy(value)
      if (!parsed) onBad(name)
      return parsed
    }
    const all = proxy('ALL_PROXY')
    this.#http = proxy('HTTP_PROXY') ?? all
    this.#https = proxy('HTTPS_PROXY') ?? all
    this.#exceptions = (env.no_proxy || env.NO_PROXY || '').split(/[\s,]+/).flatMap(parseException)
  }

  /** The proxy for a connection; undefined: none. `HTTP_PROXY` serves port 80 and plain requests, `HTTPS_PROXY` all else. */
  for(host: Host, port: number, plain: boolean): UpstreamProxy | undefined {
    const proxy = plain || port === 80 ? this.#http : this.#https
    if (!proxy || this.#exceptions.some((exception) => excepts(exception, host, port))) return undefined
    return proxy
  }
}

function parseProxy(value: string): UpstreamProxy | undefined {
  const url = URL.parse(value.includes('://') ? value : `http://${value}`)
  if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:') || url.hostname === '') return undefined
  const tls = url.protocol === 'https:'
  const credentials = url.username === '' ? undefined : `${decode(url.username)}:${decode(url.password)}`
  return {
    tls,
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? (tls ? 443 : 80) : Number(url.port),
    authorization: credentials === undefined ? undefined : `Basic ${Buffer.from(credentials).toString('base64')}`,
    plainInFull: false,
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function parseException(text: string): Exception[] {
  if (text === '') return []
  const none = { any: false, name: undefined, range: undefined, port: undefined }
  if (text === '*') return [{ ...none, any: true }]
  const range = parseRange(text.replace(/^\[|\]$/g, ''))
  if (range) return [{ ...none, range }]
  const [, place = '', port] = /^(.*?)(?::(\d+))?$/.exec(text) ?? []
  const host = parseHost(place.replace(/^\*?\./, ''))
  if (!host) return []
  const common = { ...none, port: port === undefined ? undefined : Number(port) }
  return [host.kind === 'name' ? { ...common, name: host.name } : { ...common, range: parseRange(hostText(host)) }]
}

function excepts(exception: Exception, host: Host, port: number): boolean {
  if (exception.port !== undefined && exception.port !== port) return false
  if (exception.any) return true
  if (host.kind === 'address') return exception.range !== undefined && inRange(host.address, exception.range)
  const { name } = exception
  return name !== undefined && (host.name === name || host.name.endsWith(`.${name}`))
}
