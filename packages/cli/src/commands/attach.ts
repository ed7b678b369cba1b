import { CoppiceError } from '@coppice/sdk'
import type { Command } from 'commander'
import { attached } from '../attached/attached.ts'
import type { Cli } from '../cli.ts'
import { exitCodeOfSignal } from '../exit-codes.ts'
import { parseCount } from '../parse.ts'

interface Flags {
  from?: number
  interactive?: boolean
}

export function register(program: Command, cli: Cli): void {
  program
    .command('attach')
    .summary('follow an exec that is running, or has ended')
    .description('Print what an exec wrote and writes, and end with its exit status. Ctrl-C only lets go of it.')
    .argument('<sandbox>', 'id or name')
    .argument('<exec>', 'exec id, as `coppice ps` shows it')
    .option('--from <offset>', 'journal offset to start at', parseCount, 0)
    .option('-i, --interactive', 'pass standard input on; for an exec on a terminal, be its terminal')
    .addHelpText(
      'after',
      `
Examples:
  coppice attach box ex-0123456789abcdef
  coppice attach box ex-0123456789abcdef --from 4096`,
    )
    .action((name: string, id: string, flags: Flags) => cli.finish({}, () => attach(cli, name, id, flags)))
}

async function attach(cli: Cli, name: string, id: string, flags: Flags): Promise<number> {
  const sandbox = await cli.sandbox(name)
  const input = flags.interactive === true
  const terminal = input && (await sandbox.inspectExec(id)).pty
  const exec = await sandbox.attach(id, { from: flags.from ?? 0 })
  try {
    return await attached(cli, exec, { terminal, input, onInterrupt: 'detach' })
  } catch (error) {
    if (!(error instanceof CoppiceError) || error.reason !== 'detached') throw error
    cli.say(`coppice: the exec goes on; see the rest with\n  coppice attach ${name} ${id} --from ${exec.offset}`)
    return exitCodeOfSignal('SIGINT')
  }
}
