/**
 * The closed set of error codes. A client may switch on these for ever; new situations get a new `reason`, not a new code.
 */
export const ERROR_CODES = [
  'invalid_argument',
  'unauthenticated',
  'permission_denied',
  'not_found',
  'already_exists',
  'conflict',
  'failed_precondition',
  'resource_exhausted',
  'unsupported',
  'unavailable',
  'deadline_exceeded',
  'cancelled',
  'internal',
] as const

export type ErrorCode = (typeof ERROR_CODES)[number]

/** JSON facts that belong to one error: figures, ids, paths. Never secrets. */
export type ErrorFacts = Record<string, unknown>

/** What travels: the body of every failed HTTP answer is `{"error": ErrorBody}`, an `error` frame carries an `ErrorBody` alone. */
export interface ErrorBody {
  code: ErrorCode
  /** Stable snake_case word for programs, finer than the code: `program_not_found`, `exec_lost`. */
  reason: string
  /** One sentence for people. */
  message: string
  /** True when the same call may succeed later without anything being changed. */
  retryable: boolean
  facts?: ErrorFacts
  /** The next command to run, or the next thing to look at. */
  hint?: string
}

export interface ErrorOptions {
  retryable?: boolean
  facts?: ErrorFacts
  hint?: string
  cause?: unknown
}

/** The one error class of Coppice. Everything that leaves a package as a rejection is one of these, or is a bug and becomes `internal`. */
export class CoppiceError extends Error {
  override readonly name = 'CoppiceError'
  readonly code: ErrorCode
  readonly reason: string
  readonly retryable: boolean
  readonly facts: ErrorFacts
  readonly hint: string | undefined

  constructor(code: ErrorCode, reason: string, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.reason = reason
    this.retryable = options.retryable ?? code === 'unavailable'
    this.facts = options.facts ?? {}
    this.hint = options.hint
  }

  toBody(): ErrorBody {
    const body: ErrorBody = {
      code: this.code,
      reason: this.reason,
      message: this.message,
      retryable: this.retryable,
    }
    if (Object.keys(this.facts).length > 0) body.facts = this.facts
    if (this.hint !== undefined) body.hint = this.hint
    return body
  }

  /** Rebuilds an error from the wire. Anything that is not an `ErrorBody` becomes `internal/malformed_error`. */
  static fromBody(value: unknown): CoppiceError {
    const body = (value ?? {}) as Partial<ErrorBody>
    if (!ERROR_CODES.includes(body.code as ErrorCode) || typeof body.message !== 'string') {
      return new CoppiceError('internal', 'malformed_error', 'The other side sent an error that could not be read.')
    }
    const options: ErrorOptions = { retryable: body.retryable === true }
    if (body.facts && typeof body.facts === 'object') options.facts = body.facts
    if (typeof body.hint === 'string') options.hint = body.hint
    return new CoppiceError(body.code as ErrorCode, String(body.reason ?? 'unknown'), body.message, options)
  }

  /**
   * Any thrown value as a `CoppiceError`: a full disk becomes `resource_exhausted/disk_full`, unknown ones `internal/unexpected`, with
   * the original as `cause`.
   */
  static from(value: unknown): CoppiceError {
    if (value instanceof CoppiceError) return value
    const message = value instanceof Error ? value.message : String(value)
    const { code: errno, path } = value instanceof Error ? (value as NodeJS.ErrnoException) : {}
    if (errno === 'ENOSPC' || errno === 'EDQUOT') {
      const facts = { errno, ...(path !== undefined && { path }) }
      return new CoppiceError('resource_exhausted', 'disk_full', message, { cause: value, retryable: true, facts })
    }
    return new CoppiceError('internal', 'unexpected', message, { cause: value })
  }
}

const HTTP_STATUS: Record<ErrorCode, number> = {
  invalid_argument: 400,
  unauthenticated: 401,
  permission_denied: 403,
  not_found: 404,
  already_exists: 409,
  conflict: 409,
  failed_precondition: 412,
  resource_exhausted: 429,
  unsupported: 501,
  unavailable: 503,
  deadline_exceeded: 504,
  cancelled: 499,
  internal: 500,
}

/** The HTTP status that carries a code. */
export function httpStatus(code: ErrorCode): number {
  return HTTP_STATUS[code]
}
