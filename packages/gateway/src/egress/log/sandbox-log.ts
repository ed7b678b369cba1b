import { rm } from 'node:fs/promises'
import type { EgressRecord } from '@coppice/protocol'
import { mergeLog, type ReadOptions, readFiles } from './reader.ts'
import { Repeats } from './repeats.ts'
import { LogWriter } from './writer.ts'

/** Makes ids differ between two runs of the gateway that write to one log. */
const RUN = `${Date.now().toString(36)}-${process.pid.toString(36)}`

let count = 0

/** What one sandbox reached, or tried to: on disk, and in memory for what is open. */
export class SandboxLog {
  readonly #dir: string
  readonly #writer: LogWriter
  readonly #repeats: Repeats
  readonly #live = new Map<string, () => EgressRecord>()

  constructor(dir: string, maxFileBytes?: number) {
    this.#dir = dir
    this.#writer = new LogWriter(dir, maxFileBytes)
    this.#repeats = new Repeats((record) => this.#writer.add(nextId(), record))
  }

  /** A connection was opened. Written at once, so that it is known of even if the gateway dies. */
  opened(snapshot: () => EgressRecord): string {
    const id = nextId()
    this.#live.set(id, snapshot)
    this.#writer.add(id, snapshot())
    return id
  }

  /** A connection that was opened is over. */
  ended(id: string): void {
    const snapshot = this.#live.get(id)
    if (!snapshot) return
    this.#live.delete(id)
    this.#writer.add(id, snapshot())
  }

  /** Something that began and ended at once: a refusal, a failure, a name. */
  happened(record: EgressRecord): void {
    this.#repeats.add(record)
  }

  async *read(options: Omit<ReadOptions, 'live'>): AsyncGenerator<EgressRecord> {
    this.#repeats.flush()
    const files = await this.#writer.still(() => readFiles(this.#dir))
    const live = new Map([...this.#live].map(([id, snapshot]) => [id, snapshot()]))
    yield* mergeLog(files, { ...options, live })
  }

  /** Takes nothing more. Resolves when all is written. */
  async close(): Promise<void> {
    this.#repeats.flush()
    await this.#writer.close()
  }

  /** Removes it from the disk. */
  async remove(): Promise<void> {
    await this.close()
    await rm(this.#dir, { recursive: true, force: true })
  }
}

function nextId(): string {
  count += 1
  return `${RUN}-${count.toString(36)}`
}
