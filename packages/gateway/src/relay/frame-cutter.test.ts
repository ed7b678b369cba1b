import { CoppiceError, encodeFrame, encodeJsonFrame, FrameDecoder, FrameType } from '@coppice/protocol'
import { describe, expect, it } from 'vitest'
import { FrameCutter } from './frame-cutter.ts'

const stream = Buffer.concat([
  encodeJsonFrame(FrameType.started, 0, { id: 'ex-1' }),
  encodeFrame(FrameType.data, 1, 0, Buffer.from('hello ')),
  encodeFrame(FrameType.heartbeat, 0, 0),
  encodeJsonFrame(FrameType.gap, 6, { from: 6, to: 100, reason: 'evicted' }),
  encodeFrame(FrameType.data, 2, 100, Buffer.from('world')),
  encodeJsonFrame(FrameType.result, 105, { exitCode: 0 }),
])

describe('FrameCutter', () => {
  it('hands on the same bytes however the stream is cut into chunks', () => {
    for (let size = 1; size <= stream.length; size += 1) {
      const cutter = new FrameCutter(0)
      const out: Buffer[] = []
      for (let at = 0; at < stream.length; at += size) out.push(...cutter.push(stream.subarray(at, at + size)))
      expect(Buffer.concat(out).equals(stream)).toBe(true)
      expect(cutter.ended).toBe(true)
      expect(cutter.nextOffset).toBe(105)
    }
  })

  it('hands on whole frames only, wherever the session breaks, and knows where to go on', () => {
    for (let cut = 0; cut <= stream.length; cut += 1) {
      const cutter = new FrameCutter(0)
      const out = Buffer.concat(cutter.push(stream.subarray(0, cut)))
      const decoder = new FrameDecoder()
      const frames = decoder.push(out)
      expect(decoder.atBoundary).toBe(true)
      let expected = 0
      for (const frame of frames) {
        if (frame.type === FrameType.data) expected = frame.offset + frame.payload.length
        if (frame.type === FrameType.gap) expected = 100
      }
      expect(cutter.nextOffset).toBe(expected)
    }
  })

  it('passes the output that it saw exactly once, also when half a frame is dropped', () => {
    const seen: Buffer[] = []
    const cutter = new FrameCutter(0, (payload) => seen.push(Buffer.from(payload)))
    const frame = encodeFrame(FrameType.data, 1, 0, Buffer.from('abcdef'))
    cutter.push(frame.subarray(0, 19))
    cutter.reset()
    cutter.push(frame)
    expect(Buffer.concat(seen).toString()).toBe('abcdef')
  })

  it('refuses a frame that claims to be longer than any may be', () => {
    const hostile = Buffer.alloc(16)
    hostile[0] = FrameType.data
    hostile.writeUInt32BE(0xffffffff, 4)
    expect(() => new FrameCutter(0).push(hostile)).toThrow(CoppiceError)
  })
})
