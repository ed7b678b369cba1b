import type { Socket } from 'node:net'
import { Intake, IntakeOver } from '../intake.ts'
import { BadRequest, MAX_HEAD_BYTES, type Request } from './dialect.ts'
import { httpRequest, SLOW_HEAD } from './http.ts'
import { socks4Request, socks5Request } from './socks.ts'

/** Milliseconds from the first byte that could come to the last byte of a request's head. */
const HEAD_MS = 10_000

/**
 * Milliseconds that a program has to read why it was refused. Hanging up with bytes of it unread would reset the connection
 * and take the answer away from it.
 */
const LINGER_MS = 2_000

/** Reads what a program asks its proxy for. Undefined: it was no request, and the program has been told. */
export async function readRequest(socket: Socket, intake: Intake): Promise<Request | undefined> {
  let isHttp = false
  intake.expectWithin(HEAD_MS)
  try {
    const first = await intake.take((bytes) => (bytes.length > 0 ? { value: bytes[0], used: 0 } : undefined))
    isHttp = first !== 4 && first !== 5
    if (first === 5) return await socks5Request(intake, (bytes) => socket.write(bytes))
    if (first === 4) return await socks4Request(intake)
    return await intake.take(httpRequest)
  } catch (error) {
    intake.release()
    if (error instanceof BadRequest) hangUp(socket, error.answer)
    else if (error instanceof IntakeOver && error.why === 'slow' && isHttp) hangUp(socket, SLOW_HEAD)
    else if (error instanceof IntakeOver) socket.destroy()
    else throw error
    return undefined
  } finally {
    intake.expectNothing()
  }
}

/** A proxy's side of the first bytes of a connection. */
export function proxyIntake(socket: Socket): Intake {
  return new Intake(socket, MAX_HEAD_BYTES)
}

/** Says something and hangs up; what the program still sends is thrown away. */
export function hangUp(socket: Socket, last: Buffer): void {
  if (socket.destroyed) return
  const timer = setTimeout(() => socket.destroy(), LINGER_MS)
  socket.once('close', () => clearTimeout(timer))
  socket.end(last)
  socket.resume()
}
