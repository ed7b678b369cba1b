import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { CoppiceError, PORT_UPGRADE } from '@coppice/protocol'
import { splice } from '@coppice/protocol/splice'
import type { PortDialer } from './port-dialer.ts'
import type { PreviewTarget } from './preview.ts'

const CONNECT_PATH = /^\/v1\/sandboxes\/([^/?#]+)\/ports\/([1-9]\d{0,4})\/connect$/

/** A port that a client of the API wants raw. */
export interface TunnelCall {
  /** Id or name. */
  sandbox: string
  port: number
}

/** What an upgrade asks for; undefined when it is not a tunnel. */
export function tunnelCall(request: IncomingMessage): TunnelCall | undefined {
  if (request.method !== 'GET' || request.headers.upgrade?.toLowerCase() !== PORT_UPGRADE) return undefined
  const match = CONNECT_PATH.exec(request.url ?? '')
  const port = Number(match?.[2])
  if (match?.[1] === undefined || port > 65_535) return undefined
  try {
    return { sandbox: decodeURIComponent(match[1]), port }
  } catch {
    return undefined
  }
}

/**
 * Makes a client's connection one with a port of a sandbox, byte for byte, ends and resets too.
 * @throws CoppiceError before anything was answered
 */
export async function openTunnel(
  dialer: PortDialer,
  target: PreviewTarget,
  port: number,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  const gone = new AbortController()
  const onGone = () => gone.abort(new CoppiceError('cancelled', 'client_gone', 'The client went away.'))
  socket.once('close', onGone)
  const stream = await dialer.dial(target.id, port, gone.signal).finally(() => socket.off('close', onGone))
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${PORT_UPGRADE}\r\n\r\n`)
  if (head.length > 0) stream.write(head)
  await splice(socket, stream)
}
