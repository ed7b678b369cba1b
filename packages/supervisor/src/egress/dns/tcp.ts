import type { Socket } from 'node:net'
import { type Found, Intake } from '../intake.ts'
import type { Resolver } from './resolver.ts'

/** Bytes of a query over TCP, its length included. No honest one comes near. */
const MAX_QUERY_BYTES = 4096

/** Milliseconds for the next query to come, and for its answer to be taken. */
const IDLE_MS = 10_000

/** Answers the queries of one connection, one after the other, until it ends. */
export async function serveTcp(resolver: Resolver, socket: Socket): Promise<void> {
  const intake = new Intake(socket, MAX_QUERY_BYTES)
  try {
    for (;;) {
      intake.expectWithin(IDLE_MS)
      const query = await intake.take(framed)
      intake.expectNothing()
      const answer = await resolver.answer(query)
      if (!answer) break
      const length = Buffer.alloc(2)
      length.writeUInt16BE(answer.length, 0)
      const stuck = setTimeout(() => socket.destroy(), IDLE_MS)
      await new Promise((done) => socket.write(Buffer.concat([length, answer]), done))
      clearTimeout(stuck)
    }
  } catch {
    // It has ended, or it is slow, or it talks nonsense: all the same to everybody else.
  } finally {
    intake.release()
    socket.destroySoon()
  }
}

function framed(bytes: Buffer): Found<Buffer> {
  if (bytes.length < 2) return undefined
  const end = 2 + bytes.readUInt16BE(0)
  if (end > MAX_QUERY_BYTES) throw new RangeError('too long')
  return bytes.length < end ? undefined : { value: bytes.subarray(2, end), used: end }
}
