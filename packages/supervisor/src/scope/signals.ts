import { constants } from 'node:os'
import { CoppiceError } from '@coppice/protocol/wire'

/** Name of a signal number; real-time signals are counted from `SIGRTMIN`, as `kill -l` does. */
export function signalName(signal: number): string {
  const found = Object.entries(constants.signals).find(([, value]) => value === signal)
  if (found) return found[0]
  return signal === SIGRTMIN ? 'SIGRTMIN' : `SIGRTMIN+${signal - SIGRTMIN}`
}

const SIGRTMIN = 34

/**
 * Number of `TERM`, `SIGTERM`, `15`. Throws `invalid_argument/unknown_signal`, also for real-time signals: Node cannot tell a
 * program that one of them ended from one that ended well.
 */
export function signalNumber(text: string): number {
  const name = text.replace(/^SIG/, '')
  const number = /^\d+$/.test(name)
    ? Number.parseInt(name, 10)
    : (constants.signals as Record<string, number>)[`SIG${name}`]
  if (number !== undefined && number >= 1 && number < 32) return number
  throw new CoppiceError('invalid_argument', 'unknown_signal', `There is no signal ${JSON.stringify(text)} to send.`, {
    facts: { signal: text },
    hint: 'Use a name such as TERM, KILL or INT, or a number from 1 to 31.',
  })
}
