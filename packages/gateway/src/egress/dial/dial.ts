import { connect, type Socket } from 'node:net'
import type { Address } from '../policy/address.ts'
import type { FailureKind } from '../refusal.ts'

/** Thrown when nothing answered. */
export class DialFailed extends Error {
  override readonly name = 'DialFailed'
  readonly kind: FailureKind | 'limit'

  constructor(kind: FailureKind | 'limit', message: string) {
    super(message)
    this.kind = kind
  }
}

export interface DialOptions {
  timeoutMs: number
  signal: AbortSignal
}

/** Milliseconds until the next address is tried as well (RFC 8305). */
const NEXT_ADDRESS_MS = 250

/**
 * Connects to one of exactly these addresses, families in turn. The socket is paused, half-open capable, and has a listener for
 * errors.
 *
 * @throws DialFailed, or what the signal was aborted with
 */
export function dialAddresses(addresses: readonly Address[], port: number, options: DialOptions): Promise<Socket> {
  const [only, ...others] = addresses
  if (!only) return Promise.reject(new DialFailed('unreachable', 'no address is left to try'))
  const common = { port, allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 }
  if (others.length === 0) return dial(() => connect({ ...common, host: only.text, family: only.family }), options)
  const all = addresses.map(({ text, family }) => ({ address: text, family }))
  return dial(
    () =>
      connect({
        ...common,
        // Any name will do: the look-up answers with what was judged and nothing else.
        host: 'judged.invalid',
        autoSelectFamily: true,
        autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_MS,
        lookup: (_host, _options, done) => done(null, all),
      }),
    options,
  )
}

/** Connects to a host that the operator named (an upstream proxy): resolved by the system, judged by nobody. */
export function dialTrusted(host: string, port: number, options: DialOptions): Promise<Socket> {
  return dial(() => connect({ host, port, allowHalfOpen: true, noDelay: true, keepAlive: true }), options)
}

function dial(start: () => Socket, { timeoutMs, signal }: DialOptions): Promise<Socket> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason)
      return
    }
    const socket = start()
    const settle = (error?: unknown) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      socket.off('connect', onConnect).off('close', onClose)
      if (error === undefined) {
        resolve(socket)
        return
      }
      socket.destroy()
      reject(error)
    }
    const onAbort = () => settle(signal.reason)
    const onConnect = () => settle()
    const onClose = () => settle(new DialFailed('unreachable', 'the connection was closed'))
    const timer = setTimeout(
      () => settle(new DialFailed('timeout', `there was no answer within ${timeoutMs} ms`)),
      timeoutMs,
    )
    signal.addEventListener('abort', onAbort, { once: true })
    // Stays: an error of a socket that nobody uses any more must not end the process.
    socket.on('error', (error) => settle(failure(error)))
    socket.once('connect', onConnect).once('close', onClose)
  })
}

function failure(error: unknown): DialFailed {
  const errors = error instanceof AggregateError ? error.errors : [error]
  const codes = errors.map((one) => String((one as NodeJS.ErrnoException).code))
  const has = (...wanted: string[]) => codes.find((code) => wanted.includes(code))
  const own = has('EMFILE', 'ENFILE', 'ENOBUFS', 'EADDRNOTAVAIL')
  if (own) return new DialFailed('limit', `the gateway's host can open no more connections (${own})`)
  if (has('ECONNREFUSED')) return new DialFailed('refused', 'nothing listens there')
  if (has('ETIMEDOUT', 'ERR_SOCKET_CONNECTION_TIMEOUT')) return new DialFailed('timeout', 'there was no answer')
  return new DialFailed('unreachable', `it cannot be reached from the gateway (${codes.join(', ')})`)
}
