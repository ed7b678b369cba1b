import type { ServerHttp2Session } from 'node:http2'
import type { Socket } from 'node:net'

/**
 * Cuts a link that has been silent for a lease. Any byte received is a sign of life; PINGs, three in a lease, make sure that a
 * healthy link has some. Says nothing about commands: one that prints nothing for hours is not silent here.
 */
export function watchLiveness(session: ServerHttp2Session, socket: Socket, leaseMs: number): void {
  const beatMs = leaseMs / 3
  let bytesSeen = socket.bytesRead
  let aliveAt = performance.now()
  let lookedAt = aliveAt
  const timer = setInterval(() => {
    const now = performance.now()
    const stood = now - lookedAt > 2 * beatMs
    lookedAt = now
    // After this process itself stood still, what has arrived meanwhile is not read yet.
    if (socket.bytesRead !== bytesSeen || stood) aliveAt = now
    bytesSeen = socket.bytesRead
    if (now - aliveAt >= leaseMs) socket.destroy()
    else if (!session.destroyed) session.ping(() => {})
  }, beatMs)
  session.once('close', () => clearInterval(timer))
}
