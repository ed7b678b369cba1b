import { CoppiceError, type Exec } from '@coppice/sdk'
import type { Cli } from '../cli.ts'
import { exitCodeOf, exitCodeOfSignal } from '../exit-codes.ts'
import { OutputClosed, passOutput } from './output.ts'
import { joinTerminal } from './terminal.ts'

export interface AttachedOptions {
  /** This terminal becomes the exec's. */
  terminal: boolean
  /** Standard input goes to the exec. */
  input: boolean
  /** Ctrl-C and the like only end this program's interest in the exec; else they are `forwardSignals`' business. */
  onInterrupt: 'forward' | 'detach'
}

/** Is this program's until the exec ends: output, input, signals, terminal. Returns the exit status that stands for the result. */
export async function attached(cli: Cli, exec: Exec, options: AttachedOptions): Promise<number> {
  const say = (text: string) => cli.say(options.terminal ? `\r${text}\r` : text)
  const leave: (() => void)[] = []
  if (options.terminal) leave.push(joinTerminal(exec))
  if (options.onInterrupt === 'detach') leave.push(detachOnSignal(exec))
  if (options.input) passInput(exec, say)
  try {
    await passOutput(exec, say)
    const result = await exec.result
    if (result.oomKilled) {
      const how = result.oomKilled === 'probable' ? 'was probably' : 'was'
      say(`coppice: the command ${how} ended because memory ran out`)
    }
    return exitCodeOf(result)
  } catch (error) {
    if (!(error instanceof OutputClosed)) throw error
    // As in a pipeline on one machine: who writes to a reader that is gone gets SIGPIPE.
    await exec.signal('PIPE').catch(() => {})
    exec.detach()
    return exitCodeOfSignal('SIGPIPE')
  } finally {
    for (const undo of leave) undo()
    if (options.input) process.stdin.destroy()
  }
}

/** Standard input, as fast as the exec takes it. What it does not want any more is no failure. */
function passInput(exec: Exec, say: (text: string) => void): void {
  const { stdin } = exec
  const pass = async () => {
    await stdin.writeAll(process.stdin)
    await stdin.end()
  }
  pass().catch((error: unknown) => {
    const failure = CoppiceError.from(error)
    if (failure.reason === 'stdin_closed' || failure.reason === 'detached') return
    say(`coppice: standard input: ${failure.message} (${failure.code}/${failure.reason})`)
  })
}

function detachOnSignal(exec: Exec): () => void {
  const onSignal = () => exec.detach()
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  return () => {
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
  }
}
