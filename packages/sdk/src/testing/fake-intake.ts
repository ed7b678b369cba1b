import type { IncomingMessage, ServerResponse } from 'node:http'
import { encodeFrame, FrameType } from '@coppice/protocol/wire'
import type { Fault } from './fake-gateway.ts'

/** Bytes that a client sends, taken as the supervisor takes them: overlap skipped, acknowledged as they come, kept over cuts. */
export class FakeIntake {
  #chunks: Buffer[] = []
  #late: Buffer | undefined
  acknowledged = 0
  ended = false

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks)
  }

  /** Takes one body that starts at `offset`; `onEnd` answers a body that ended cleanly. */
  take(request: IncomingMessage, response: ServerResponse, offset: number, fault: Fault, onEnd: () => void): void {
    let at = offset
    let room = fault.cutBodyAfter ?? Number.POSITIVE_INFINITY
    if (this.#late) {
      this.#append(this.#late)
      this.#late = undefined
      response.write(encodeFrame(FrameType.ack, 0, this.acknowledged))
    }
    request.on('data', (chunk: Buffer) => {
      const part = chunk.subarray(0, room)
      room -= part.length
      const fresh = part.subarray(Math.min(part.length, this.acknowledged - at))
      at += part.length
      if (part.length === chunk.length) {
        this.#append(fresh)
        response.write(encodeFrame(FrameType.ack, 0, this.acknowledged))
        return
      }
      const onTime = Math.max(0, fresh.length - (fault.late ?? 0))
      this.#append(fresh.subarray(0, onTime))
      if (onTime < fresh.length) this.#late = Buffer.from(fresh.subarray(onTime))
      request.removeAllListeners('data').removeAllListeners('end')
      request.socket.resetAndDestroy()
    })
    request.on('end', () => {
      this.ended = true
      onEnd()
    })
  }

  #append(bytes: Buffer): void {
    this.#chunks.push(Buffer.from(bytes))
    this.acknowledged += bytes.length
  }
}
