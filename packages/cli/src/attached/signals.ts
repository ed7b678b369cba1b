import { CoppiceError, type Exec } from '@coppice/sdk'
import { exitCodeOfSignal } from '../exit-codes.ts'

const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const

/**
 * Passes this process's signals on to an exec that is being started: the first as it is, the second as KILL for everything in
 * it; the third ends this process, for when nothing can be reached any more. Returns what ends that.
 */
export function forwardSignals(starting: Promise<Exec>, say: (text: string) => void): () => void {
  let count = 0
  const onSignal = (name: NodeJS.Signals) => {
    count += 1
    if (count > 2) process.exit(exitCodeOfSignal(name))
    say(`coppice: ${count === 1 ? `${name} is passed on; a second one kills` : 'killing the command'}`)
    starting
      .then((exec) => exec.signal(count === 1 ? name : 'KILL'))
      .catch((error: unknown) => {
        // It ended while the signal was on its way, or never started, which is told elsewhere.
        const failure = CoppiceError.from(error)
        if (failure.code === 'unavailable') say(`coppice: ${failure.message}`)
      })
  }
  for (const name of FORWARDED) process.on(name, onSignal)
  return () => {
    for (const name of FORWARDED) process.off(name, onSignal)
  }
}
