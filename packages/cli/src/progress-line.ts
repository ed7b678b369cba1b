import type { WriteStream } from 'node:tty'
import type { ProgressEvent, Taken } from '@coppice/sdk'
import { bytes, oneLine } from './table.ts'
import { TransferRate, timeLeft } from './transfer-rate.ts'

const BAR_CELLS = 24
/** Without a terminal there is a line for each of so many bytes. */
const LINE_BYTES = 100 * 1024 * 1024
/** Longest line of a log or a step that is shown where no terminal says how wide it is, characters. */
const LINE_CHARACTERS = 2000

type Stream = Pick<WriteStream, 'write' | 'columns' | 'isTTY'>

/** Progress for people: one line that changes on a terminal, one line per step and per 100 MiB elsewhere. */
export class ProgressLine {
  readonly #stream: Stream
  readonly #now: () => number
  #shown = ''
  /** How many lines' worth of bytes each step has told. */
  readonly #told = new Map<string, number>()
  #rate = new TransferRate()
  #open = false

  constructor(stream: Stream, now = () => performance.now()) {
    this.#stream = stream
    this.#now = now
  }

  show(event: ProgressEvent): void {
    if (this.#stream.isTTY) this.#showLine(event)
    else this.#showStep(event)
    this.#shown = event.message
  }

  /** A line of a builder's log. */
  log(line: string): void {
    this.end()
    this.#stream.write(`${plainLine(line)}\n`)
  }

  taken(_taken: Taken, words: string): void {
    this.log(words)
  }

  /** Ends the line, so that what comes next starts on its own. */
  end(): void {
    if (this.#open) this.#stream.write('\r\u001b[K')
    this.#open = false
  }

  #showLine(event: ProgressEvent): void {
    const text = describeProgress(event, this.#bytesPerSecond(event))
    this.#stream.write(`\r\u001b[K${oneLine(text, (this.#stream.columns || 80) - 1)}`)
    this.#open = true
  }

  #showStep({ message, done, total, unit }: ProgressEvent): void {
    const counts = done !== undefined && unit !== 'items'
    const known = this.#told.get(message)
    if (!counts || known === undefined) {
      if (message !== this.#shown) this.#stream.write(`${oneLine(message, LINE_CHARACTERS)}\n`)
      if (counts) this.#told.set(message, Math.floor(done / LINE_BYTES))
      return
    }
    // What has been told of a part is told of the whole, which seldom ends with a full line.
    const end = total !== undefined && done >= total && total >= LINE_BYTES
    const due = end ? total / LINE_BYTES : Math.floor(done / LINE_BYTES)
    // It may go back when a part is done again: said once is enough.
    if (due <= known) return
    this.#told.set(message, due)
    const whole = total === undefined ? '' : ` of ${bytes(total)}`
    this.#stream.write(`${oneLine(message, LINE_CHARACTERS)}  ${bytes(due * LINE_BYTES)}${whole}\n`)
  }

  #bytesPerSecond({ message, done, unit }: ProgressEvent): number | undefined {
    if (message !== this.#shown) this.#rate = new TransferRate()
    return done === undefined || unit === 'items' ? undefined : this.#rate.add(done, this.#now())
  }
}

/** Progress for programs: one JSON value a line. */
export class ProgressJson {
  readonly #stream: Pick<Stream, 'write'>

  constructor(stream: Pick<Stream, 'write'>) {
    this.#stream = stream
  }

  show(event: ProgressEvent): void {
    this.#stream.write(`${JSON.stringify({ event: 'progress', ...event })}\n`)
  }

  log(line: string): void {
    this.#stream.write(`${JSON.stringify({ event: 'log', line })}\n`)
  }

  taken(taken: Taken, _words: string): void {
    this.#stream.write(`${JSON.stringify({ event: 'taken', ...taken })}\n`)
  }

  end(): void {}
}

/** A step as one line: a bar where the whole is known, rate and time left where the rate is. */
export function describeProgress(event: ProgressEvent, bytesPerSecond?: number): string {
  const { message, done, total, unit } = event
  if (done === undefined) return message
  const show = (count: number) => (unit === 'items' ? String(count) : bytes(count))
  const rate = bytesPerSecond === undefined ? '' : `  ${bytes(bytesPerSecond)}/s`
  if (total === undefined || total <= 0) return `${message}  ${show(done)}${rate}`
  const share = Math.min(1, done / total)
  const cells = Math.round(share * BAR_CELLS)
  const bar = `${'█'.repeat(cells)}${'░'.repeat(BAR_CELLS - cells)}`
  const left = bytesPerSecond && done < total ? `  ${timeLeft((total - done) / bytesPerSecond)} left` : ''
  return `${message}  ${bar} ${Math.floor(share * 100)} %  ${show(done)} of ${show(total)}${rate}${left}`
}

/** What comes from elsewhere, without what would move a terminal's cursor; tabs stay. */
function plainLine(text: string): string {
  return text
    .slice(0, LINE_CHARACTERS)
    .split('\t')
    .map((part) => part.replaceAll(/[\p{Cc}\p{Cf}]+/gu, ''))
    .join('\t')
}
