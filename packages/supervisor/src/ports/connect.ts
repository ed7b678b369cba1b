import { connect, type Socket } from 'node:net'
import { CoppiceError } from '@coppice/protocol/wire'

/** Milliseconds that a listener has to take a connection. On loopback only one that is stuck needs any. */
const CONNECT_MS = 10_000

/** Where programs listen that want to be reached from their own machine. */
const LOOPBACKS = ['127.0.0.1', '::1']

/**
 * Connects to a port on loopback, IPv4 first. `abort` gives up. Throws `failed_precondition/port_not_listening`,
 * `deadline_exceeded/port_not_answering`, `unavailable/port_unreachable`.
 */
export async function connectPort(port: number, sandboxId: string, abort: AbortSignal): Promise<Socket> {
  let failure: NodeJS.ErrnoException | undefined
  for (const host of LOOPBACKS) {
    try {
      return await tryConnect(host, port, abort)
    } catch (error) {
      failure = error as NodeJS.ErrnoException
      if (!NOBODY_THERE.has(failure.code ?? '')) break
    }
  }
  if (NOBODY_THERE.has(failure?.code ?? '')) throw notListening(port, sandboxId)
  const facts = { port }
  if (failure?.code === 'ETIMEDOUT') {
    const message = `Port ${port} has not taken the connection within ${CONNECT_MS / 1000} s.`
    throw new CoppiceError('deadline_exceeded', 'port_not_answering', message, { facts, retryable: true })
  }
  const message = `Port ${port} cannot be reached: ${failure?.message}.`
  throw new CoppiceError('unavailable', 'port_unreachable', message, { facts, cause: failure })
}

export function notListening(port: number, sandboxId: string): CoppiceError {
  return new CoppiceError('failed_precondition', 'port_not_listening', `Nothing listens on port ${port} inside.`, {
    facts: { port },
    retryable: true,
    hint: `coppice inspect ${sandboxId} lists what listens.`,
  })
}

/** A sandbox without IPv6 does not know its loopback. */
const NOBODY_THERE = new Set(['ECONNREFUSED', 'EADDRNOTAVAIL', 'EAFNOSUPPORT', 'ENETUNREACH'])

function tryConnect(host: string, port: number, abort: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true })
    const giveUp = () => socket.destroy(Object.assign(new Error('given up'), { code: 'ECANCELED' }))
    const timer = setTimeout(
      () => socket.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })),
      CONNECT_MS,
    )
    const settled = () => {
      clearTimeout(timer)
      abort.removeEventListener('abort', giveUp)
    }
    const failed = (error: Error) => {
      settled()
      reject(error)
    }
    abort.addEventListener('abort', giveUp)
    socket.once('error', failed)
    socket.once('connect', () => {
      settled()
      socket.off('error', failed).pause()
      resolve(socket)
    })
    if (abort.aborted) giveUp()
  })
}
