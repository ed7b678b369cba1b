import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { parseSignal } from '../parse.ts'

interface Flags {
  signal: string
  group?: boolean
}

export function register(program: Command, cli: Cli): void {
  program
    .command('kill')
    .summary('send a signal to an exec')
    .description('Send a signal to every process of an exec, also to those that left its process group.')
    .argument('<sandbox>', 'id or name')
    .argument('<exec>', 'exec id, as `coppice ps` shows it')
    .option('--signal <name>', 'which', parseSignal, 'TERM')
    .option('--group', 'only to its process group, as a terminal does')
    .addHelpText(
      'after',
      '\nExamples:\n  coppice kill box ex-0123456789abcdef\n  coppice kill box ex-0123456789abcdef --signal KILL',
    )
    .action((name: string, id: string, flags: Flags) =>
      cli.finish({}, async () => (await cli.sandbox(name)).kill(id, flags.signal, { tree: !flags.group })),
    )
}
