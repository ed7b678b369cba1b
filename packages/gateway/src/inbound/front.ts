import type { IncomingMessage, RequestListener, Server, ServerOptions, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'

/** What stands before the API: requests that it handles never reach the API's router. */
export interface Front {
  handles(request: IncomingMessage): boolean
  request(request: IncomingMessage, response: ServerResponse): void
  upgrades(request: IncomingMessage): boolean
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
}

/** What a server must be made with. */
export function frontOptions(front: Front | undefined): ServerOptions {
  return { shouldUpgradeCallback: (request) => front?.upgrades(request) ?? false }
}

/** Serves API and front on one server. */
export function serve(server: Server, api: RequestListener, front: Front | undefined): void {
  const onRequest: RequestListener = (request, response) => {
    if (front?.handles(request)) front.request(request, response)
    else api(request, response)
  }
  server.on('request', onRequest)
  // Somebody else's server decides whether it wants the body; the API always does.
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    if (!front?.handles(request)) response.writeContinue()
    onRequest(request as Parameters<RequestListener>[0], response as Parameters<RequestListener>[1])
  })
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (front) front.upgrade(request, socket, head)
    else socket.destroy()
  })
}
