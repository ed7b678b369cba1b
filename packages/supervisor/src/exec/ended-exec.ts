import type { ErrorBody, ExecInfo, ExecResult } from '@coppice/protocol/wire'
import { Journal, type JournalOptions } from '../journal/journal.ts'
import type { EndRecord } from '../log/records.ts'
import type { ExecView } from './view.ts'

/** An exec as the log tells it: its end, and its output as far as it is held. */
export class EndedExec implements ExecView {
  readonly facts: EndRecord
  readonly journal: Journal
  readonly ended = true
  readonly holders = undefined

  constructor(record: EndRecord, options: JournalOptions) {
    this.facts = record
    this.journal = new Journal(options, record.journal)
  }

  get result(): ExecResult | null {
    return this.facts.result
  }

  get error(): ErrorBody | null {
    return this.facts.error
  }

  info(): ExecInfo {
    const { id, key, argv, cwd, user, pty, startedAt, stdinAcknowledged, result, error } = this.facts
    return {
      id,
      key,
      argv: [...argv],
      cwd,
      user,
      pty,
      pid: null,
      state: error ? 'lost' : 'exited',
      startedAt,
      outputStart: this.journal.start,
      outputEnd: this.journal.end,
      stdinAcknowledged,
      result,
      error,
    }
  }

  blockOn(): () => void {
    return () => {}
  }

  moved(): void {}
}
