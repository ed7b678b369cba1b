import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { CoppiceError } from '@coppice/protocol'

const sha256 = (text: string) => createHash('sha256').update(text).digest()

/** Decides who may call: right name, no foreign page, right token. */
export class Guard {
  readonly #token: Buffer
  readonly #hosts: Set<string>

  /** @param hosts names (without port) by which this gateway is called; others are refused, which ends DNS rebinding. */
  constructor(token: string, hosts: Iterable<string>) {
    this.#token = sha256(token)
    this.#hosts = new Set([...hosts].map((host) => host.toLowerCase()))
  }

  /**
   * @param open the route tells nothing that is not public and needs no token
   * @throws `permission_denied/foreign_host`, `permission_denied/foreign_origin`, `unauthenticated/bad_token`
   */
  check(request: IncomingMessage, open: boolean): void {
    const host = hostName(request.headers.host ?? '')
    if (!this.#hosts.has(host)) {
      throw new CoppiceError(
        'permission_denied',
        'foreign_host',
        `This gateway is not called ${JSON.stringify(host.slice(0, 100))}.`,
        {
          hint: 'Use the url of `coppice gateway status --json`.',
        },
      )
    }
    // Programs send no Origin. A page that does is only welcome when it came from this gateway itself.
    const { origin } = request.headers
    if (origin !== undefined && !this.#hosts.has(originHost(origin))) {
      throw new CoppiceError('permission_denied', 'foreign_origin', 'Calls from pages of other origins are refused.')
    }
    if (open) return
    const [scheme, token] = (request.headers.authorization ?? '').split(' ')
    if (scheme?.toLowerCase() === 'bearer' && token && timingSafeEqual(sha256(token), this.#token)) return
    throw new CoppiceError('unauthenticated', 'bad_token', 'The token is missing or not the one of this gateway.', {
      hint: 'The token is in COPPICE_HOME/token; set COPPICE_TOKEN for a remote gateway.',
    })
  }
}

function hostName(header: string): string {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:]*)(?::\d{1,5})?$/.exec(header)
  return (match?.[1] ?? '').toLowerCase()
}

function originHost(origin: string): string {
  try {
    return new URL(origin).hostname.toLowerCase()
  } catch {
    return ''
  }
}
