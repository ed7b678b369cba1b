import type { ErrorBody, ExecInfo, ExecResult } from '@coppice/protocol/wire'
import type { Journal } from '../journal/journal.ts'
import type { JournalReader } from '../journal/reader.ts'
import type { ExecFacts } from '../log/records.ts'
import type { Holders } from './holders.ts'

/** What an exec is observed through: a running one, or one that is read from the log. */
export interface ExecView {
  readonly facts: ExecFacts
  readonly journal: Journal
  readonly result: ExecResult | null
  readonly error: ErrorBody | null
  /** True when `result` or `error` is set, and stands in the log. */
  readonly ended: boolean
  info(): ExecInfo
  /** Marks a reader as the one that the program waits for. Returns the function that ends that. */
  blockOn(reader: JournalReader): () => void
  /** A reader has moved. */
  moved(): void
  /** Clients that the exec is tied to; undefined when it is not tied, or has ended. */
  readonly holders: Holders | undefined
}
