import { CoppiceError } from '@coppice/protocol/wire'
import { errnoOf } from '../faults.ts'

/** What may go away by itself: the same request is tried again. */
export class Transient extends Error {
  readonly fault: CoppiceError
  /** Milliseconds that the registry wants to be left alone. */
  readonly waitMs: number | undefined

  constructor(fault: CoppiceError, waitMs?: number) {
    super(fault.message, { cause: fault })
    this.fault = fault
    this.waitMs = waitMs
  }
}

/** Said by the other side, of what it was shown, or that it was shown nothing. */
const TLS_ALERT = /^ERR_SSL_.*ALERT_.*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)/
const TLS_ERROR = /^(CERT_|ERR_TLS_CERT|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|ERR_SSL_.*CERT)/

/**
 * An error of a connection: typed, and `Transient` where another attempt can help. Typed errors come back as they are.
 *
 * @param registry whose certificates are used; it may have sent us to `host`
 */
export function connectionFault(error: unknown, host: string, registry = host): unknown {
  if (error instanceof CoppiceError || error instanceof Transient) return error
  const errno = errnoOf(error) ?? (error instanceof Error ? error.message : String(error))
  const facts = { registry: host, errno }
  if (TLS_ALERT.test(errno)) {
    return new CoppiceError(
      'failed_precondition',
      'registry_client_certificate',
      `${host} wants another client certificate than it was shown, or one at all (${errno}).`,
      { facts, hint: `cp client.cert client.key /etc/docker/certs.d/${registry}/` },
    )
  }
  if (TLS_ERROR.test(errno)) {
    return new CoppiceError(
      'failed_precondition',
      'registry_certificate',
      `The certificate of ${host} is not trusted (${errno}).`,
      {
        facts,
        hint: `cp ca.crt /etc/docker/certs.d/${registry}/`,
      },
    )
  }
  const fault = new CoppiceError('unavailable', 'registry_unreachable', `${host} could not be reached (${errno}).`, {
    cause: error,
    facts,
    hint: `curl -v https://${host}/v2/`,
  })
  // A name that does not exist will not exist in a second.
  return errno === 'ENOTFOUND' || errno === 'ECONNREFUSED' || errno === 'ERR_INVALID_URL' ? fault : new Transient(fault)
}

/** Nobody has answered in time. */
export function silent(host: string, ms: number): CoppiceError {
  return new CoppiceError('unavailable', 'registry_unreachable', `${host} gave no answer for ${ms / 1000} s.`, {
    facts: { registry: host, ms },
    hint: `curl -v https://${host}/v2/`,
  })
}

/** True for what is wrong with this machine, and not with a registry: another one would not help. */
export function isOwnFault({ code, reason }: CoppiceError): boolean {
  return code === 'cancelled' || code === 'internal' || reason === 'disk_full' || reason.startsWith('store_')
}

/** An answer that is no success, typed by its status. `what` is what was asked for. */
export function statusFault(
  status: number,
  what: string,
  detail: { host: string; said: string; retryAfterMs: number | undefined; named: boolean },
): CoppiceError | Transient {
  const { host, said } = detail
  const facts = { registry: host, status, ...(said !== '' && { said }) }
  const quoted = said === '' ? '' : `: ${said}`
  if (status === 401) {
    const refused = detail.named ? 'does not accept the credentials' : 'wants credentials'
    return new CoppiceError('unauthenticated', 'registry_unauthenticated', `${host} ${refused} for ${what}${quoted}.`, {
      facts,
      hint: `docker login ${host}`,
    })
  }
  if (status === 403) {
    return new CoppiceError('permission_denied', 'registry_denied', `${host} denies ${what}${quoted}.`, {
      facts,
      hint: `docker login ${host}`,
    })
  }
  if (status === 404) {
    return new CoppiceError('not_found', 'not_in_registry', `${host} does not have ${what}${quoted}.`, { facts })
  }
  if (status === 429) {
    const fault = new CoppiceError(
      'resource_exhausted',
      'registry_rate_limit',
      `${host} limits how often it is asked.`,
      {
        retryable: true,
        facts: { ...facts, retryAfterMs: detail.retryAfterMs },
        hint: `docker login ${host}`,
      },
    )
    return new Transient(fault, detail.retryAfterMs)
  }
  const fault = new CoppiceError('unavailable', 'registry_failed', `${host} answered ${status} for ${what}${quoted}.`, {
    retryable: status >= 500,
    facts,
  })
  return status >= 500 || status === 408 ? new Transient(fault, detail.retryAfterMs) : fault
}
