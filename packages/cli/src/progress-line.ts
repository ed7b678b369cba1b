import type { WriteStream } from 'node:tty'
import type { ProgressEvent } from '@coppice/sdk'
import { bytes, oneLine } from './table.ts'

const BAR_CELLS = 24

/** Progress for people: one line that changes on a terminal, one line per step elsewhere. */
export class ProgressLine {
  readonly #stream: Pick<WriteStream, 'write' | 'columns' | 'isTTY'>
  #shown = ''
  #open = false

  constructor(stream: Pick<WriteStream, 'write' | 'columns' | 'isTTY'>) {
    this.#stream = stream
  }

  show(event: ProgressEvent): void {
    if (this.#stream.isTTY) {
      this.#stream.write(`\r\u001b[K${oneLine(describeProgress(event), (this.#stream.columns || 80) - 1)}`)
      this.#open = true
    } else if (event.message !== this.#shown) {
      this.#shown = event.message
      this.#stream.write(`${oneLine(event.message, 500)}\n`)
    }
  }

  /** Ends the line, so that what comes next starts on its own. */
  end(): void {
    if (this.#open) this.#stream.write('\r\u001b[K')
    this.#open = false
  }
}

/** A step as one line: a bar where the whole is known. */
export function describeProgress({ message, done, total, unit }: ProgressEvent): string {
  if (done === undefined) return message
  const show = (count: number) => (unit === 'items' ? String(count) : bytes(count))
  if (total === undefined || total <= 0) return `${message}  ${show(done)}`
  const share = Math.min(1, done / total)
  const cells = Math.round(share * BAR_CELLS)
  const bar = `${'█'.repeat(cells)}${'░'.repeat(BAR_CELLS - cells)}`
  return `${message}  ${bar} ${Math.floor(share * 100)} %  ${show(done)} of ${show(total)}`
}
