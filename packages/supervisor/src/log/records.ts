import type { ErrorBody, ExecResult } from '@coppice/protocol/wire'
import type { JournalRecordMeta } from '../journal/journal.ts'
import type { ScopeMark } from '../scope/kill-scope.ts'

/** What never changes about an exec. */
export interface ExecFacts {
  readonly id: string
  readonly key: string
  /** SHA-256 over what was asked for, without id and key: the same key with another one is a conflict. */
  readonly specSha: string
  readonly argv: readonly string[]
  readonly cwd: string
  readonly user: string
  readonly pty: boolean
  readonly startedAt: number
}

/** Stands in the log before the process starts. */
export interface StartRecord extends ExecFacts {
  readonly t: 'start'
  /** What holds the process, so that a later supervisor can end it. */
  readonly launcher: ScopeMark
}

/** Stands in the log before anybody is told the end. Either `result` or `error` is set. */
export interface EndRecord extends ExecFacts {
  readonly t: 'end'
  readonly endedAt: number
  readonly stdinAcknowledged: number
  readonly result: ExecResult | null
  readonly error: ErrorBody | null
  readonly journal: JournalRecordMeta
}

/** The exec could not be started after all: its key is free again. */
export interface VoidRecord {
  readonly t: 'void'
  readonly id: string
}

/** A key that a client chose and whose exec is forgotten: it never runs again. Written when the log is compacted. */
export interface KeyRecord {
  readonly t: 'key'
  readonly key: string
  readonly id: string
  readonly specSha: string
}

export type LogRecord = StartRecord | EndRecord | VoidRecord | KeyRecord
