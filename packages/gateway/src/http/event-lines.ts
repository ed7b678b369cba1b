import type { ServerResponse } from 'node:http'
import type { ImageEvent, ProgressEvent } from '@coppice/protocol'

/** Milliseconds between two progress lines: people do not read faster, and a bar needs no more. */
const EVENT_INTERVAL_MS = 100

/** Bytes that wait for a client that does not read; what comes after them is left out. */
const MAX_WAITING_BYTES = 1024 * 1024

/** Characters of one line of a log. Clients take lines of 1 MiB, and a character may become six bytes of JSON. */
const MAX_LOG_LINE = 64 * 1024

/**
 * Lines of JSON that tell a client what goes on. Nobody waits for a client that does not read: progress that it would get too late is
 * dropped, lines of a log too once there are too many, and it is told how many those were. The last line is always sent.
 */
export class EventLines {
  readonly #response: ServerResponse
  #lastMessage = ''
  #lastAt = 0
  /** Lines of the log that were left out and of which the client has not been told. */
  #missing = 0

  constructor(response: ServerResponse) {
    this.#response = response
  }

  progress(event: ProgressEvent): void {
    const now = performance.now()
    // The end of a step is always told, or it would look as if it had been cut short.
    const whole = event.done !== undefined && event.done === event.total
    if (event.message === this.#lastMessage && now - this.#lastAt < EVENT_INTERVAL_MS && !whole) return
    this.#lastMessage = event.message
    this.#lastAt = now
    if (!this.#response.writableNeedDrain) this.#send({ event: 'progress', ...event })
  }

  log(line: string): void {
    if (this.#missing > 0 || this.#response.writableLength > MAX_WAITING_BYTES) {
      this.#missing += 1
      if (this.#missing === 1) this.#response.once('drain', () => this.#tellMissing())
      return
    }
    this.#send({ event: 'log', line: shortened(line) })
  }

  /** The outcome, and nothing after it. */
  last(event: ImageEvent): void {
    this.#tellMissing()
    this.#send(event)
  }

  #tellMissing(): void {
    if (this.#missing === 0) return
    const line = `[${this.#missing} lines of the log are left out here: they were not read in time]`
    this.#missing = 0
    this.#send({ event: 'log', line })
  }

  #send(event: ImageEvent): void {
    this.#response.write(`${JSON.stringify(event)}\n`)
  }
}

function shortened(line: string): string {
  if (line.length <= MAX_LOG_LINE) return line
  return `${line.slice(0, MAX_LOG_LINE)} [${line.length - MAX_LOG_LINE} characters are left out here]`
}
