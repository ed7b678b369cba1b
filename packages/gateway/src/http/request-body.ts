import type { IncomingMessage, ServerResponse } from 'node:http'

/**
 * Milliseconds that the rest of a body is taken and thrown away after its answer. A client that sends all before it reads would
 * never come to the answer otherwise; one that reads meanwhile has stopped long before.
 */
const LINGER_MS = 30_000

/** A request's body for a reader that may leave it before its end: that ends the reading, and not the connection. */
export function leavable(request: IncomingMessage): AsyncGenerator<Buffer, void, void> {
  return request.iterator({ destroyOnReturn: false }) as AsyncGenerator<Buffer, void, void>
}

/**
 * Takes what is left of a request's body and throws it away. To be called when the answer was written and before it is ended: a
 * connection that is closed while bytes come is reset, and the answer with it. Resolves when nothing comes any more, never rejects.
 *
 * @param body see `leavable`
 */
export async function discardRest(
  request: IncomingMessage,
  body?: AsyncGenerator<Buffer, void, void>,
  lingerMs = LINGER_MS,
): Promise<void> {
  if (!request.complete && !request.destroyed) {
    const over = Promise.withResolvers<void>()
    const timer = setTimeout(over.resolve, lingerMs)
    for (const event of ['end', 'close', 'error']) request.once(event, () => over.resolve())
    // While somebody still waits for bytes of it, it would not flow.
    const left = body ? body.return() : Promise.resolve()
    void left.catch(() => {}).then(() => request.resume())
    await over.promise
    clearTimeout(timer)
  }
  request.resume()
}

/**
 * Ends an answer after `discardRest`. A body that has still not ended ends with it: a sender that has fallen silent would keep its
 * connection for ever.
 */
export function endOf(request: IncomingMessage, response: ServerResponse): void {
  response.end(() => {
    if (!request.complete) request.socket.destroySoon()
  })
}
