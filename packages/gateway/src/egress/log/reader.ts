import { readFile } from 'node:fs/promises'
import type { EgressRecord } from '@coppice/protocol'
import { decodeLine, lineId } from './line.ts'
import { logFiles } from './writer.ts'

/** Lines handed on in one turn of the event loop. */
const LINES_A_TURN = 500

export interface ReadOptions {
  /** Only what was refused. */
  denied?: boolean | undefined
  /** Only the newest so many. */
  limit?: number | undefined
  /** What is open now, by id: newer than what the files say of it. */
  live: ReadonlyMap<string, EgressRecord>
}

interface Line {
  file: number
  from: number
  to: number
}

/** The bytes of a sandbox's log, at most 16 MiB. Nothing may be written meanwhile. */
export function readFiles(dir: string): Promise<Buffer[]> {
  return Promise.all(logFiles(dir).map((path) => readFile(path).catch(() => Buffer.alloc(0))))
}

/** The records in a sandbox's log, oldest first by when they were asked for, one for each connection. */
export async function* mergeLog(
  files: readonly Buffer[],
  { denied, limit, live }: ReadOptions,
): AsyncGenerator<EgressRecord> {
  const lines = await lastLines(files)
  const unseen = [...live].filter(([id]) => !lines.has(id)).map(([, record]) => record)
  const passes = (record: EgressRecord | undefined): record is EgressRecord =>
    record !== undefined && (!denied || record.verdict === 'denied')
  const recordOf = (id: string, { file, from, to }: Line) =>
    live.get(id) ?? decodeLine((files[file] as Buffer).toString('utf8', from, to))

  let done = 0
  let skip = 0
  if (limit !== undefined) {
    let matching = unseen.filter(passes).length
    if (!denied) matching += lines.size
    else for (const [id, line] of lines) if (passes(recordOf(id, line))) matching += 1
    skip = Math.max(0, matching - limit)
  }
  // Their opening lines were rotated away: older than everything that is left.
  for (const record of unseen.filter(passes)) if (skip-- <= 0) yield record
  for (const [id, line] of lines) {
    done += 1
    if (done % LINES_A_TURN === 0) await nextTurn()
    if (!denied && skip > 0) {
      skip -= 1
      continue
    }
    const record = recordOf(id, line)
    if (passes(record) && skip-- <= 0) yield record
  }
}

/** For each id the line that says most, in the order in which the ids came up. */
async function lastLines(files: readonly Buffer[]): Promise<Map<string, Line>> {
  const lines = new Map<string, Line>()
  let count = 0
  for (const [file, bytes] of files.entries()) {
    for (let from = 0; from < bytes.length; ) {
      const end = bytes.indexOf(0x0a, from)
      const to = end < 0 ? bytes.length : end
      const id = lineId(bytes, from, to)
      count += 1
      // Counts of dropped lines all have one id, and each is one of its own.
      if (id !== undefined) lines.set(id === 'dropped' ? `dropped-${count}` : id, { file, from, to })
      from = to + 1
      if (count % (LINES_A_TURN * 4) === 0) await nextTurn()
    }
  }
  return lines
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
