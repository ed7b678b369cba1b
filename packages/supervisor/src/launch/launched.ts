import type { KillScope, WaitStatus } from '../scope/kill-scope.ts'
import type { OutputSource } from './source.ts'

/** Standard input of a program, as the supervisor writes it. */
export interface InputSink {
  /** Resolves when it was taken; false when the program does not read any more. */
  write(chunk: Buffer): Promise<boolean>
  /** The program sees the end of its input. */
  end(): void
  /** Closes it without waiting for what was written. */
  destroy(): void
}

/** A launcher that is ready: a shell in its scope that becomes the program when it is told to. */
export interface Launched {
  /** The process that becomes the program. */
  readonly main: number
  /** The supervisor's own child: the same process, or the subreaper around it. */
  readonly launcher: number
  readonly scope: KillScope
  /** Standard output, then standard error; a terminal has one only. */
  readonly sources: readonly OutputSource[]
  readonly input: InputSink
  /** The program's wait status; `unknown` when whoever waited for it was killed. */
  readonly exited: Promise<WaitStatus | 'unknown'>
  /** Turns it into the program. */
  run(script: string): void
  /** Ends a launcher that never ran anything. */
  dispose(): void
  /** Only a terminal has it. */
  resize?(cols: number, rows: number): void
}
