import type { ClientRequest } from 'node:http'
import { isIP, connect as netConnect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { CoppiceError, PORT_UPGRADE } from '@coppice/protocol/wire'
import { throwIfAborted } from './cancellation.ts'
import type { GatewayConnection, GatewayRequest } from './connection.ts'

/**
 * A connection to a port of a sandbox, byte for byte: ends and resets too, each direction by itself. A gateway that is started
 * again meanwhile is found again: nothing was sent yet.
 *
 * @throws `failed_precondition/port_not_listening`, `failed_precondition/not_running`, `unavailable/session_lost`, …
 */
export function openPort(
  connection: GatewayConnection,
  sandboxPath: string,
  port: number,
  signal: AbortSignal | undefined,
): Promise<Duplex> {
  const request: GatewayRequest = {
    method: 'GET',
    path: `${sandboxPath}/ports/${port}/connect`,
    headers: { connection: 'Upgrade', upgrade: PORT_UPGRADE },
    connect: dial,
    signal,
  }
  return connection.retrying(signal, true, async () => {
    throwIfAborted(signal)
    const open = connection.open(request)
    const upgraded = upgrade(open)
    open.end()
    const answered = connection.answer(open, request).then((response) => {
      response.destroy()
      throw notUpgraded()
    })
    return Promise.race([upgraded, answered])
  })
}

function upgrade(open: ClientRequest): Promise<Duplex> {
  return new Promise((resolve) => {
    open.once('upgrade', (_response, socket, head) => {
      if (head.length > 0) socket.unshift(head)
      resolve(socket)
    })
  })
}

/** Half-open, unlike those that Node makes for requests; with TLS on a connection of its own, which can be reset. */
function dial(options: { host: string; port: number; protocol: string }): Socket {
  const { host, port, protocol } = options
  const below = netConnect({ host, port, allowHalfOpen: true, noDelay: true })
  if (protocol !== 'https:') return below
  const tls = process.getBuiltinModule('node:tls')
  const socket = tls.connect({ socket: below, host, ...(isIP(host) ? {} : { servername: host }) })
  below.once('error', (error) => socket.destroy(error))
  return socket
}

function notUpgraded(): CoppiceError {
  return new CoppiceError('unsupported', 'no_tunnels', 'This gateway is too old to reach ports of sandboxes.', {
    hint: 'coppice gateway status',
  })
}
