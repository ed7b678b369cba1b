import type { Socket } from 'node:net'
import { isIP } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { type Host, hostPort } from '../policy/host.ts'
import { DialFailed, type DialOptions, dialTrusted } from './dial.ts'
import type { UpstreamProxy } from './proxy-settings.ts'

/** Longest head of a proxy's answer to CONNECT, bytes. */
const MAX_HEAD_BYTES = 16 * 1024

/** The proxy answered CONNECT with another status than 2xx. */
export class ConnectRefused extends DialFailed {
  readonly status: number

  constructor(status: number) {
    super('unreachable', `the upstream proxy of the gateway answered ${status}`)
    this.status = status
  }
}

/** Opens a tunnel through a proxy. @throws ConnectRefused, DialFailed */
export async function dialThrough(
  proxy: UpstreamProxy,
  host: Host,
  port: number,
  options: DialOptions,
): Promise<Socket> {
  const socket = await dialProxy(proxy, options)
  const place = hostPort(host, port)
  const authorization = proxy.authorization === undefined ? '' : `Proxy-Authorization: ${proxy.authorization}\r\n`
  socket.write(`CONNECT ${place} HTTP/1.1\r\nHost: ${place}\r\n${authorization}\r\n`)
  const stop = abortWith(socket, options)
  try {
    const head = await readHead(socket)
    const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1] ?? 0)
    if (status < 200 || status > 299) throw new ConnectRefused(status)
    return socket
  } catch (error) {
    socket.destroy()
    if (options.signal.aborted) throw options.signal.reason
    throw error
  } finally {
    stop()
  }
}

/** A connection to the proxy itself. @throws DialFailed */
export async function dialProxy(proxy: UpstreamProxy, options: DialOptions): Promise<Socket> {
  let socket: Socket
  try {
    socket = await dialTrusted(proxy.host, proxy.port, options)
  } catch (error) {
    if (error instanceof DialFailed) {
      throw new DialFailed(error.kind, `the upstream proxy of the gateway is not there: ${error.message}`)
    }
    throw error
  }
  if (!proxy.tls) return socket
  const secure = connectTls({ socket, ...(isIP(proxy.host) ? {} : { servername: proxy.host }) })
  const stop = abortWith(secure, options)
  try {
    await new Promise<void>((resolve, reject) => {
      secure.once('secureConnect', resolve).once('error', reject).once('close', reject)
    })
  } catch {
    secure.destroy()
    if (options.signal.aborted) throw options.signal.reason
    throw new DialFailed('unreachable', 'TLS to the upstream proxy of the gateway failed')
  } finally {
    stop()
  }
  secure.on('error', () => {})
  return secure
}

/** Destroys the socket when the time is over or nobody waits any more. Returns what calls that off. */
function abortWith(socket: Socket, { signal, timeoutMs }: DialOptions): () => void {
  const destroy = () => socket.destroy()
  const timer = setTimeout(
    () => socket.destroy(new DialFailed('timeout', 'the upstream proxy does not answer')),
    timeoutMs,
  )
  signal.addEventListener('abort', destroy, { once: true })
  return () => {
    clearTimeout(timer)
    signal.removeEventListener('abort', destroy)
  }
}

/** Reads up to the empty line; what follows it stays in the socket. */
function readHead(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let held: Buffer = Buffer.alloc(0)
    const finish = (error?: Error) => {
      socket.off('data', onData).off('error', onError).off('close', onClose).off('end', onClose)
      // As if nobody had listened yet: Node's HTTP does not wake a socket that was paused.
      Object.assign(socket, { readableFlowing: null })
      if (error) reject(error)
    }
    const onData = (chunk: Buffer) => {
      held = Buffer.concat([held, chunk])
      const end = held.indexOf('\r\n\r\n')
      if (end < 0 && held.length > MAX_HEAD_BYTES) onClose()
      if (end < 0) return
      finish()
      const rest = held.subarray(end + 4)
      if (rest.length > 0) socket.unshift(rest)
      resolve(held.toString('latin1', 0, end))
    }
    const onError = (error: Error) =>
      finish(error instanceof DialFailed ? error : new DialFailed('unreachable', 'the upstream proxy broke off'))
    const onClose = () => onError(new Error('closed'))
    socket.on('data', onData).once('error', onError).once('close', onClose).once('end', onClose)
  })
}
