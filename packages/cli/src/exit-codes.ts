import { constants } from 'node:os'
import type { CoppiceError, ExecResult } from '@coppice/sdk'

/** `--timeout` ended the command. */
export const EXIT_TIMED_OUT = 124
/** Coppice itself failed. */
export const EXIT_COPPICE_FAILED = 125
/** The command is there and cannot be run. */
export const EXIT_NOT_EXECUTABLE = 126
/** There is no such command. */
export const EXIT_NOT_FOUND = 127

/** The exit status that stands for a result: the command's own, 128+n for signal n, 124 for a time limit. */
export function exitCodeOf(result: Pick<ExecResult, 'exitCode' | 'signal' | 'timedOut'>): number {
  if (result.timedOut) return EXIT_TIMED_OUT
  if (result.exitCode !== null) return result.exitCode
  return exitCodeOfSignal(result.signal ?? '')
}

/** 128+n; 125 for a signal that this system does not know, never 0. */
export function exitCodeOfSignal(signal: string): number {
  const number = (constants.signals as Record<string, number>)[signal] ?? realTime(signal)
  return number === undefined ? EXIT_COPPICE_FAILED : 128 + number
}

/** The exit status of a command that did not run, or not to its end. */
export function exitCodeOfError(error: CoppiceError): number {
  if (error.reason === 'program_not_found') return EXIT_NOT_FOUND
  if (error.reason === 'not_executable') return EXIT_NOT_EXECUTABLE
  if (error.reason === 'interrupted' && typeof error.facts.signal === 'string')
    return exitCodeOfSignal(error.facts.signal)
  return EXIT_COPPICE_FAILED
}

/** `SIGRTMIN+3`, which Node does not name. Linux: SIGRTMIN is 34 and SIGRTMAX 64. */
function realTime(signal: string): number | undefined {
  const match = /^SIGRT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(signal)
  if (!match) return undefined
  const distance = Number(match[3] ?? 0) * (match[2] === '-' ? -1 : 1)
  return (match[1] === 'MIN' ? 34 : 64) + distance
}
