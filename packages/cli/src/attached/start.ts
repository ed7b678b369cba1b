import type { Exec, Sandbox } from '@coppice/sdk'
import type { Cli } from '../cli.ts'
import { attached } from './attached.ts'
import type { RunOptions } from './options.ts'
import { forwardSignals } from './signals.ts'
import { terminalSize } from './terminal.ts'

/** Starts a command, is its terminal or pipe until it ends, and returns the exit status that stands for its result. */
export async function startAttached(cli: Cli, sandbox: Sandbox, argv: string[], options: RunOptions): Promise<number> {
  const terminal = options.terminal === true
  const input = terminal || options.interactive === true
  const starting: Promise<Exec> = sandbox.spawn(argv, {
    ...options.spawn,
    stdin: input ? 'stream' : 'none',
    // As behind a pipe: whoever writes more than the terminal or the file takes waits, and nothing is lost. Without a reader it
    // goes on.
    journal: 'block',
    pty: terminal ? { ...terminalSize(), ...(process.env.TERM ? { term: process.env.TERM } : {}) } : undefined,
  })
  const stopForwarding = forwardSignals(starting, (text) => cli.say(text))
  try {
    return await attached(cli, await starting, { terminal, input, onInterrupt: 'forward' })
  } finally {
    stopForwarding()
  }
}
