import { FrameDecoder, FrameType, frameJson, type Gap } from '@coppice/protocol/wire'
import type { Journal } from '../journal/journal.ts'
import { JournalReader } from '../journal/reader.ts'

/** What a reader was given, in order: output with its offset, and gaps. */
export interface Reading {
  readonly pieces: { offset: number; stream: number; text: string }[]
  readonly gaps: Gap[]
  /** All output joined. */
  readonly text: string
}

/** Reads everything that can be read now from an offset on. Fails when an offset is skipped or repeated. */
export async function readAll(journal: Journal, from = 0): Promise<Reading> {
  const reader = new JournalReader(journal, from)
  const reading = { pieces: [] as Reading['pieces'], gaps: [] as Gap[] }
  const decoder = new FrameDecoder()
  let expected = from
  for (let batch = await reader.next(); batch; batch = await reader.next()) {
    for (const frame of decoder.push(Buffer.from(batch))) {
      if (frame.offset !== expected) throw new Error(`a frame starts at ${frame.offset} instead of ${expected}`)
      if (frame.type === FrameType.gap) {
        const gap = frameJson<Gap>(frame)
        reading.gaps.push(gap)
        expected = gap.to
      } else {
        reading.pieces.push({ offset: frame.offset, stream: frame.stream, text: frame.payload.toString('latin1') })
        expected += frame.payload.length
      }
    }
  }
  await reader.close()
  return { ...reading, text: reading.pieces.map((piece) => piece.text).join('') }
}
