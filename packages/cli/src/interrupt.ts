import { CoppiceError } from '@coppice/sdk'
import { exitCodeOfSignal } from './exit-codes.ts'

const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Work that Ctrl-C and the like end in an orderly way: it is cancelled and can clean up; a second signal ends the program at once.
 *
 * @throws `cancelled/interrupted` with fact `{signal}`
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController()
  const onSignal = (signal: NodeJS.Signals) => {
    if (abort.signal.aborted) process.exit(exitCodeOfSignal(signal))
    abort.abort(new CoppiceError('cancelled', 'interrupted', `Ended by ${signal}.`, { facts: { signal } }))
  }
  for (const name of ENDING) process.on(name, onSignal)
  try {
    return await work(abort.signal)
  } catch (error) {
    // However the work says that it was cancelled, this is why.
    throw abort.signal.aborted ? abort.signal.reason : error
  } finally {
    for (const name of ENDING) process.off(name, onSignal)
  }
}
