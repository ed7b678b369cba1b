import { rmSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { GENERATED_KEY_PREFIX } from '@coppice/protocol/wire'
import { RecordFile, type RecordPlace } from './record-file.ts'
import type { EndRecord, KeyRecord, LogRecord, StartRecord } from './records.ts'

/** The log is rewritten when it is larger than this and more than half of it is no longer needed. */
const COMPACT_ABOVE_BYTES = 4 * 1024 * 1024

interface EndedPlace extends RecordPlace {
  readonly endedAt: number
}

/**
 * What must survive the supervisor about its execs. Ended ones are in the file alone; in memory there is where they stand.
 */
export class ExecLog {
  #file: RecordFile
  readonly #ended = new Map<string, EndedPlace>()
  readonly #running = new Map<string, StartRecord>()
  readonly #keys = new Map<string, { id: string; specSha: string }>()
  #compacting: Promise<void> | undefined
  /** Bytes of records of ended execs that are held. */
  #liveBytes = 0
  #compactAbove = COMPACT_ABOVE_BYTES

  constructor(path: string) {
    this.#file = new RecordFile(path)
    this.#file.scan((value, place) => this.#apply(value as LogRecord, place))
  }

  /** Execs that were started and whose end is not in the log. */
  get running(): readonly StartRecord[] {
    return [...this.#running.values()]
  }

  /** Ids of ended execs that are held, oldest end first. */
  get endedIds(): string[] {
    return [...this.#ended.keys()]
  }

  /** The exec that a key belongs to. It may be forgotten. */
  byKey(key: string): { id: string; specSha: string } | undefined {
    return this.#keys.get(key)
  }

  hasEnded(id: string): boolean {
    return this.#ended.has(id)
  }

  /** Reads one ended exec. */
  ended(id: string): EndRecord | undefined {
    const place = this.#ended.get(id)
    return place ? (this.#file.read(place) as EndRecord) : undefined
  }

  /** Adds a record. Throws `resource_exhausted/disk_full`. */
  append(record: LogRecord): void {
    this.#apply(record, this.#file.append(record))
  }

  sync(): Promise<void> {
    return this.#file.sync()
  }

  /** Forgets execs that ended before `before`, and returns their ids. Keys that clients chose are remembered for ever. */
  forget(before: number): string[] {
    const gone: string[] = []
    for (const [id, place] of this.#ended) {
      if (place.endedAt >= before) continue
      this.#ended.delete(id)
      this.#liveBytes -= place.length
      gone.push(id)
    }
    const goneIds = new Set(gone)
    for (const [key, { id }] of goneIds.size > 0 ? this.#keys : []) {
      if (goneIds.has(id) && key.startsWith(GENERATED_KEY_PREFIX)) this.#keys.delete(key)
    }
    const wasted = this.#file.end - this.#liveBytes
    if (this.#file.end > this.#compactAbove && wasted * 2 > this.#file.end) {
      this.#compacting ??= this.#compact().finally(() => {
        this.#compacting = undefined
      })
    }
    return gone
  }

  async close(): Promise<void> {
    await this.#compacting
    this.#file.close()
  }

  #apply(record: LogRecord, place: RecordPlace): void {
    if (record.t === 'void') {
      const start = this.#running.get(record.id)
      if (start) this.#keys.delete(start.key)
      this.#running.delete(record.id)
      return
    }
    this.#keys.set(record.key, { id: record.id, specSha: record.specSha })
    if (record.t === 'start') this.#running.set(record.id, record)
    if (record.t !== 'end') return
    this.#running.delete(record.id)
    this.#ended.set(record.id, { ...place, endedAt: record.endedAt })
    this.#liveBytes += place.length
  }

  /** Copies what is needed into a new file. Records that come meanwhile go to the old one and are copied last. */
  async #compact(): Promise<void> {
    const old = this.#file
    const path = `${old.path}.new`
    const mark = old.end
    rmSync(path, { force: true })
    const fresh = new RecordFile(path)
    try {
      for (const [key, { id, specSha }] of this.#keys) {
        if (!key.startsWith(GENERATED_KEY_PREFIX)) fresh.append({ t: 'key', key, id, specSha } satisfies KeyRecord)
      }
      for (const start of this.running) fresh.append(start)
      const moved = await copyEnded(old, fresh, [...this.#ended])
      const shift = fresh.end - mark
      if (old.end > mark) fresh.appendRaw(old.readRaw({ position: mark, length: old.end - mark }))
      fresh.rename(old.path)
      for (const [id, place] of this.#ended) {
        this.#ended.set(id, moved.get(id) ?? { ...place, position: place.position + shift })
      }
      this.#file = fresh
      this.#compactAbove = Math.max(COMPACT_ABOVE_BYTES, fresh.end * 2)
      old.close()
    } catch {
      // No room for a second file: the log goes on growing and is compacted later.
      fresh.close()
      rmSync(path, { force: true })
    }
  }
}

async function copyEnded(
  from: RecordFile,
  to: RecordFile,
  places: [string, EndedPlace][],
): Promise<Map<string, EndedPlace>> {
  const moved = new Map<string, EndedPlace>()
  for (const [id, place] of places) {
    moved.set(id, { ...place, position: to.end })
    to.appendRaw(from.readRaw(place))
    if (moved.size % 100 === 0) await turn()
  }
  return moved
}
