import { statSync } from 'node:fs'
import { CoppiceError, type ErrorCode } from '@coppice/protocol/wire'
import type { Dialect } from '../dialect.ts'

/** What a connection to an engine's socket failed with. Throws nothing; what is a `CoppiceError` already stays one. */
export function connectionFault(cause: unknown, socket: string, dialect: Dialect): CoppiceError {
  if (cause instanceof CoppiceError) return cause
  const { code, message } = cause as NodeJS.ErrnoException
  const facts = { socket, engine: dialect.kind, detail: code ?? message }
  if (code === 'EACCES' || code === 'EPERM') {
    return new CoppiceError(
      'permission_denied',
      'engine_forbidden',
      `${dialect.title} is there, but this user may not use its socket ${socket}.`,
      { facts, hint: `ls -l ${socket}; run the gateway as root or as a member of the socket's group`, cause },
    )
  }
  const why = (code && WHY[code]?.(socket)) ?? message
  return new CoppiceError('unavailable', 'engine_gone', `${dialect.title} does not answer at ${socket}: ${why}.`, {
    facts,
    hint: dialect.startHint,
    cause,
  })
}

const WHY: Record<string, (socket: string) => string> = {
  ENOENT: () => 'there is no such socket',
  ECONNREFUSED: (socket) => whatIsNoSocket(socket) ?? 'nobody listens there',
  ECONNRESET: () => 'it hung up',
  EPIPE: () => 'it hung up',
  EINVAL: () => 'a socket cannot have such a path, maybe because it is too long',
}

/** `docker run -v /var/run/docker.sock:…` makes a folder there when no Docker runs. */
function whatIsNoSocket(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false })
  if (!found || found.isSocket()) return undefined
  return found.isDirectory() ? 'a folder is there and no socket' : 'a file is there and no socket'
}

/** An engine that takes connections and then says nothing. */
export function silent(socket: string, dialect: Dialect, timeoutMs: number): CoppiceError {
  return new CoppiceError(
    'unavailable',
    'engine_silent',
    `${dialect.title} took a call at ${socket} and has not answered for ${Math.round(timeoutMs / 1000)} s.`,
    { facts: { socket, engine: dialect.kind, timeoutMs }, hint: dialect.startHint.replace(' start ', ' status ') },
  )
}

/** An answer that no engine gives. */
export function garbled(text: string, call: string, dialect: Dialect): CoppiceError {
  const detail = text.trim().slice(0, 200)
  return new CoppiceError(
    'unavailable',
    'answer_garbled',
    `What ${dialect.title} answered to ${call} cannot be understood: ${detail || 'nothing'}`,
    { retryable: false, facts: { call, engine: dialect.kind, detail }, hint: `${dialect.kind} version` },
  )
}

const CODES: Record<number, ErrorCode> = {
  400: 'invalid_argument',
  401: 'permission_denied',
  403: 'permission_denied',
  404: 'not_found',
  409: 'conflict',
}

/** An answer that is no success, in the engine's own words. */
export function answerFault(status: number, text: string, call: string, dialect: Dialect): CoppiceError {
  const detail = messageOf(text)
  const facts = { status, call, engine: dialect.kind, detail }
  if (isDiskFull(detail)) return diskFull(detail, dialect, facts)
  if (status === 400 && /client version .* is too (old|new)/i.test(detail)) {
    return new CoppiceError('unsupported', 'engine_version', `${dialect.title} refuses our API version: ${detail}`, {
      facts,
    })
  }
  // Podman says 500 for it.
  const code = /name .* is (already )?in use|already in use by/i.test(detail)
    ? 'conflict'
    : (CODES[status] ?? 'unavailable')
  return new CoppiceError(code, 'engine_refused', `${dialect.title} refused ${call}: ${detail}`, {
    facts,
    retryable: false,
    hint: dialect.kind === 'docker' ? 'journalctl -u docker -e' : 'journalctl -u podman -e',
  })
}

/** An error that comes inside a stream whose status was a success. */
export function streamFault(message: string, call: string, dialect: Dialect): CoppiceError {
  const facts = { call, engine: dialect.kind, detail: message }
  if (isDiskFull(message)) return diskFull(message, dialect, facts)
  return new CoppiceError('failed_precondition', 'engine_failed', `${dialect.title} failed at ${call}: ${message}`, {
    facts,
  })
}

function isDiskFull(detail: string): boolean {
  return /no space left on device|disk quota exceeded/i.test(detail)
}

function diskFull(detail: string, dialect: Dialect, facts: Record<string, unknown>): CoppiceError {
  return new CoppiceError(
    'resource_exhausted',
    'engine_disk_full',
    `${dialect.title} has no room on its disk: ${detail}`,
    {
      facts,
      hint: `${dialect.kind} system df`,
    },
  )
}

function messageOf(text: string): string {
  try {
    const { message, cause } = JSON.parse(text) as { message?: unknown; cause?: unknown }
    if (typeof message === 'string' && message !== '') return message
    if (typeof cause === 'string' && cause !== '') return cause
  } catch {}
  return text.trim().slice(0, 1000) || 'it gave no reason'
}
