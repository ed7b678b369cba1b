import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { unsupported } from '../unsupported.ts'

/** Commands that a later release brings: they have their place and say so. */
const LATER: Record<string, string> = {
  fork: 'Forking a sandbox',
  restore: 'Restoring a checkpoint',
}

export function register(program: Command, cli: Cli): void {
  for (const [name, what] of Object.entries(LATER)) refuse(program, cli, name, what)
}

/** A command that takes anything and refuses politely. */
export function refuse(parent: Command, cli: Cli, name: string, what: string, hint?: string): void {
  parent
    .command(name, { hidden: true })
    .argument('[anything...]')
    .allowUnknownOption()
    .helpOption(false)
    .action(() =>
      cli.finish({ json: process.argv.includes('--json') }, () => {
        throw unsupported(name, what, hint)
      }),
    )
}
