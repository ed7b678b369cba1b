import { CoppiceError } from '@coppice/protocol/wire'

/** Reasons that say "the way to the gateway broke", as opposed to an answer that the gateway gave. */
const LINK_REASONS = new Set([
  'gateway_not_running',
  'connection_failed',
  'connection_lost',
  'link_silent',
  'gateway_stopping',
])

/** System calls that fail before a byte of a request has left. */
const CONNECT_CALLS = new Set(['connect', 'getaddrinfo'])

/** True for failures after which the same call on a new connection may go on. */
export function isLinkFailure(error: unknown): error is CoppiceError {
  return error instanceof CoppiceError && error.code === 'unavailable' && LINK_REASONS.has(error.reason)
}

/** True when the request cannot have reached the gateway, so that repeating it is safe whatever it does. */
export function neverSent(error: CoppiceError): boolean {
  return error.reason === 'gateway_not_running' || error.reason === 'connection_failed'
}

/** A socket error as `unavailable/connection_failed` (nothing was sent) or `unavailable/connection_lost` (it may have been). */
export function connectionError(cause: NodeJS.ErrnoException, url: string): CoppiceError {
  if (cause.syscall !== undefined && CONNECT_CALLS.has(cause.syscall)) {
    return new CoppiceError(
      'unavailable',
      'connection_failed',
      `The gateway at ${url} cannot be reached: ${cause.code}.`,
      {
        facts: { url, errno: cause.code },
        hint: 'coppice gateway status',
        cause,
      },
    )
  }
  return connectionLost(cause.message, cause)
}

/** The connection broke after the request was sent: what it asked for may have been done or not. */
export function connectionLost(detail: string, cause?: unknown): CoppiceError {
  return new CoppiceError('unavailable', 'connection_lost', `The connection to the gateway broke: ${detail}.`, {
    hint: 'coppice gateway status',
    cause,
  })
}

/** Nothing, not even a heartbeat, was heard for `ms`. */
export function linkSilent(ms: number): CoppiceError {
  return new CoppiceError('unavailable', 'link_silent', `The gateway gave no sign of life for ${ms} ms.`, {
    facts: { ms },
    hint: 'coppice gateway status',
  })
}

/** The same error with more facts. */
export function withFacts(error: CoppiceError, facts: Record<string, unknown>): CoppiceError {
  return new CoppiceError(error.code, error.reason, error.message, {
    retryable: error.retryable,
    facts: { ...error.facts, ...facts },
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    cause: error.cause ?? error,
  })
}

/** A session that broke under a body is the sender's to resume: the gateway keeps none of the bytes. */
export function isResumable(error: unknown): error is CoppiceError {
  return isLinkFailure(error) || (error instanceof CoppiceError && error.reason === 'session_lost' && error.retryable)
}
