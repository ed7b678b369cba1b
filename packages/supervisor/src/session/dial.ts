import { connect, type Socket } from 'node:net'
import {
  CoppiceError,
  HELLO_TIMEOUT_MS,
  MAX_HELLO_BYTES,
  type SessionHello,
  type SessionWelcome,
} from '@coppice/protocol/wire'

/** A link whose two first lines have been exchanged. Bytes that came behind the line are still in it. */
export interface Link {
  readonly socket: Socket
  readonly leaseMs: number
}

/**
 * Dials the gateway and exchanges first lines. Throws `unavailable/gateway_unreachable`, `unavailable/handshake_failed`, or
 * the error that the gateway answers with.
 */
export async function dial(socketPath: string, hello: SessionHello, abort: AbortSignal): Promise<Link> {
  const socket = connect({ path: socketPath })
  const cut = () => socket.destroy()
  const timer = setTimeout(cut, HELLO_TIMEOUT_MS)
  abort.addEventListener('abort', cut)
  try {
    await connected(socket)
    socket.write(`${JSON.stringify(hello)}\n`)
    const welcome = parseWelcome(await firstLine(socket))
    if (!welcome.ok) throw CoppiceError.fromBody(welcome.error)
    return { socket, leaseMs: welcome.leaseMs }
  } catch (error) {
    socket.on('error', () => {})
    socket.destroy()
    throw error
  } finally {
    clearTimeout(timer)
    abort.removeEventListener('abort', cut)
  }
}

function connected(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (cause?: unknown) =>
      reject(new CoppiceError('unavailable', 'gateway_unreachable', 'No gateway answers at the socket.', { cause }))
    socket.once('error', failed)
    socket.once('close', () => failed())
    socket.once('connect', () => {
      socket.removeAllListeners('error').removeAllListeners('close')
      resolve()
    })
  })
}

function firstLine(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let held = Buffer.alloc(0)
    const stop = () => {
      socket.off('data', take).off('close', failed).off('error', failed)
      socket.pause()
    }
    const failed = (cause?: unknown) => {
      stop()
      reject(new CoppiceError('unavailable', 'handshake_failed', 'The gateway hung up before it answered.', { cause }))
    }
    const take = (chunk: Buffer) => {
      held = Buffer.concat([held, chunk])
      const end = held.indexOf(0x0a)
      if (end < 0 && held.length <= MAX_HELLO_BYTES) return
      if (end < 0 || end > MAX_HELLO_BYTES) return failed()
      stop()
      if (held.length > end + 1) socket.unshift(held.subarray(end + 1))
      resolve(held.toString('utf8', 0, end))
    }
    socket.on('data', take).on('close', failed).on('error', failed)
  })
}

function parseWelcome(line: string): SessionWelcome {
  try {
    const welcome = JSON.parse(line) as SessionWelcome
    if (welcome.ok === false) return welcome
    if (welcome.ok === true && Number.isInteger(welcome.leaseMs) && welcome.leaseMs > 0) return welcome
  } catch {
    // Told below.
  }
  throw new CoppiceError('unavailable', 'handshake_failed', 'The gateway answered with something else than a welcome.')
}
