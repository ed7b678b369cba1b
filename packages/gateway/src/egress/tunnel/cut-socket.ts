import type { Socket } from 'node:net'

/** Ends a connection so that its other side sees a reset and never takes a part for the whole. */
export function cutSocket(socket: Socket): void {
  if (socket.destroyed) return
  if (socket.writableEnded && !socket.writableFinished && socket.writableLength === 0) {
    // An end is on its way: a reset is refused then, and the connection would stay. The kernel has all that it was to get.
    socket.destroy()
    return
  }
  try {
    socket.resetAndDestroy()
  } catch {
    // TLS to an upstream proxy has no reset of its own.
    socket.destroy()
  }
}
