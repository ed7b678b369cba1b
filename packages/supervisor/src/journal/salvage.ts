import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { FRAME_HEADER_BYTES, FrameType, type Gap, StreamId } from '@coppice/protocol/wire'
import type { JournalRecordMeta } from './journal.ts'
import { readHeader } from './segment-reader.ts'
import type { Segment } from './segments.ts'

/** Reads headers only: a frame of a segment has at most this much in front of the next header. */
const CHUNK_BYTES = 1024 * 1024

/**
 * What the files of a journal hold whose supervisor died: whole frames up to the first one that is torn. Holes between files
 * are named `supervisor_lost`: the reason they had is not known any more.
 */
export async function salvageJournal(dir: string): Promise<JournalRecordMeta> {
  const names = await readdir(dir).catch(() => [])
  const starts = names.flatMap((name) => (/^\d+\.seg$/.test(name) ? [Number.parseInt(name, 10)] : []))
  const segments: Segment[] = []
  const lost: Gap[] = []
  const bytes = { stdout: 0, stderr: 0 }
  let end = 0
  for (const start of starts.sort((a, b) => a - b)) {
    const segment = await measure(join(dir, `${start}.seg`), start, bytes)
    if (segment.end === segment.start) continue
    if (segments.length > 0 && start > end) lost.push({ from: end, to: start, reason: 'supervisor_lost' })
    segments.push(segment)
    end = segment.end
  }
  return { end, stdoutBytes: bytes.stdout, stderrBytes: bytes.stderr, segments, lost }
}

async function measure(path: string, start: number, bytes: { stdout: number; stderr: number }): Promise<Segment> {
  const segment: Segment = { start, end: start, fileBytes: 0 }
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    const chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, size))
    while (segment.fileBytes < size) {
      const { bytesRead } = await file.read(chunk, 0, chunk.length, segment.fileBytes)
      let at = 0
      while (bytesRead - at >= FRAME_HEADER_BYTES) {
        const frame = readHeader(chunk, at)
        const frameEnd = at + FRAME_HEADER_BYTES + frame.payloadBytes
        if (frame.type !== FrameType.data || frame.offset !== segment.end || frameEnd > bytesRead) break
        if (frame.stream === StreamId.stderr) bytes.stderr += frame.payloadBytes
        else bytes.stdout += frame.payloadBytes
        segment.end += frame.payloadBytes
        at = frameEnd
      }
      if (at === 0) break
      segment.fileBytes += at
    }
    return segment
  } finally {
    await file.close()
  }
}
