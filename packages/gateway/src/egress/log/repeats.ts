import type { EgressRecord } from '@coppice/protocol'

/** Milliseconds in which equal records are counted instead of written. */
export const REPEAT_MS = 10_000

/** Different records that are counted at one time, for one sandbox. */
const MAX_KEYS = 256

interface Repeat {
  last: EgressRecord
  times: number
}

/**
 * Holds back records that say the same as one just written: a program that tries a refused place 10,000 times makes two lines of
 * log, and cannot push out of it what it did before. The first of its kind is written at once, the others as one with their number.
 */
export class Repeats {
  readonly #write: (record: EgressRecord) => void
  readonly #kept = new Map<string, Repeat>()
  #timer: NodeJS.Timeout | undefined

  constructor(write: (record: EgressRecord) => void) {
    this.#write = write
  }

  /** @param record of something that is over: nothing is added to it later. */
  add(record: EgressRecord): void {
    const { kind, exec, via, name, address, port, verdict, rule, end } = record
    const key = JSON.stringify([kind, exec, via, name, address, port, verdict, rule, end])
    const kept = this.#kept.get(key)
    if (kept) {
      kept.last = record
      kept.times += 1
      return
    }
    this.#write(record)
    if (this.#kept.size >= MAX_KEYS) return
    this.#kept.set(key, { last: record, times: 0 })
    this.#timer ??= setTimeout(() => this.flush(), REPEAT_MS).unref()
  }

  /** Writes what was held back. */
  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    for (const { last, times } of this.#kept.values()) {
      if (times === 1) this.#write(last)
      if (times > 1) this.#write({ ...last, times })
    }
    this.#kept.clear()
  }
}
