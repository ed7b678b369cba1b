import { CoppiceError } from '@coppice/protocol/wire'
import { respondJson } from '../session/responses.ts'
import type { Request, Routes } from '../session/router.ts'
import { joinTunnel } from '../session/tunnel.ts'
import { connectPort, notListening } from './connect.ts'
import { listeningPorts } from './listening.ts'

/** Connections from outside at one time. Each takes a file descriptor. */
const MAX_CONNECTIONS = 1_024

export interface PortsOptions {
  readonly sandboxId: string
  /** Ports that are the supervisor's own: nobody outside has business there, least of all with the proxy. */
  readonly ownPorts: () => Set<number>
}

/** The routes of the ports that programs listen on. */
export function portRoutes({ sandboxId, ownPorts }: PortsOptions): Routes {
  let open = 0
  const connect = async ({ stream, param, closed }: Request): Promise<void> => {
    const port = portOf(param)
    if (ownPorts().has(port)) throw notListening(port, sandboxId)
    if (open >= MAX_CONNECTIONS) throw tooMany()
    open += 1
    const gone = new AbortController()
    void closed.then(() => {
      open -= 1
      gone.abort()
    })
    const socket = await connectPort(port, sandboxId, gone.signal)
    if (!stream.destroyed) stream.respond({ ':status': 200, 'content-type': 'application/octet-stream' })
    joinTunnel(stream, socket)
  }
  return {
    'GET /ports': async ({ stream }) => respondJson(stream, { ports: await listeningPorts(ownPorts()) }),
    'POST /ports/:port': connect,
  }
}

function portOf(text: string): number {
  const port = Number(text)
  if (/^\d{1,5}$/.test(text) && port >= 1 && port <= 65_535) return port
  throw new CoppiceError('invalid_argument', 'bad_port', 'A port is a number from 1 to 65535.')
}

function tooMany(): CoppiceError {
  const message = `${MAX_CONNECTIONS} connections to ports of the sandbox are open.`
  return new CoppiceError('resource_exhausted', 'too_many_connections', message, {
    retryable: true,
    facts: { limit: MAX_CONNECTIONS },
  })
}
