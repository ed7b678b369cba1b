import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { CoppiceError } from '@coppice/protocol'
import type { FastifyInstance } from 'fastify'
import { type Front, frontOptions, serve } from '../inbound/front.ts'

export interface RemoteListener {
  url: string
  port: number
  close(): void
}

export interface RemoteOptions {
  /** `HOST:PORT`, `[::]:PORT` */
  address: string
  certFile: string
  keyFile: string
}

/**
 * Serves the same application to other machines. Only with TLS: a token that travels in the clear is no token.
 * @throws `invalid_argument` for an address or certificate that cannot be used
 */
export async function startRemoteListener(
  app: FastifyInstance,
  front: Front,
  options: RemoteOptions,
): Promise<RemoteListener> {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s]+)):(\d{1,5})$/.exec(options.address)
  const host = match?.[1] ?? match?.[2]
  if (!match || !host) {
    throw new CoppiceError(
      'invalid_argument',
      'bad_listen_address',
      `${JSON.stringify(options.address)} is not HOST:PORT.`,
      {
        hint: 'coppice gateway start --listen 0.0.0.0:7443 --tls-cert cert.pem --tls-key key.pem',
      },
    )
  }
  // Half-open as it is without TLS: a client of a port may have said its last and still listen.
  const server = createServer({ ...readCertificate(options), ...frontOptions(front), allowHalfOpen: true })
  serve(server, (request, response) => app.routing(request, response), front)
  server.requestTimeout = 0
  server.keepAliveTimeout = 75_000
  server.maxConnections = app.server.maxConnections
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(Number(match[3]), host, resolve)
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `https://${match[1] ? `[${host}]` : host}:${port}`,
    port,
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

function readCertificate(options: RemoteOptions): { cert: Buffer; key: Buffer } {
  try {
    return { cert: readFileSync(options.certFile), key: readFileSync(options.keyFile) }
  } catch (error) {
    throw new CoppiceError(
      'invalid_argument',
      'bad_certificate',
      `The certificate could not be read: ${(error as Error).message}`,
      {
        cause: error,
      },
    )
  }
}
