import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { bytes, table } from '../table.ts'

export function register(program: Command, cli: Cli): void {
  program
    .command('stats')
    .summary('what a sandbox uses now')
    .description('Print what a sandbox uses now: memory, processor time, processes.')
    .argument('<sandbox>', 'id or name')
    .option('--json', 'one JSON value')
    .addHelpText('after', '\nExample:\n  coppice stats box')
    .action((name: string, flags: { json?: boolean }) => cli.finish(flags, () => stats(cli, name, flags)))
}

async function stats(cli: Cli, name: string, flags: { json?: boolean }): Promise<void> {
  const use = await (await cli.sandbox(name)).stats()
  if (flags.json) {
    cli.printJson(use)
    return
  }
  const size = (count: number | null) => (count === null ? '-' : bytes(count))
  const number = (count: number | null, digits = 0) => (count === null ? '-' : count.toFixed(digits))
  const rows = [
    ['memory', `${size(use.memoryBytes)} of ${size(use.memoryLimitBytes)}`],
    ['memory peak', size(use.memoryPeakBytes)],
    ['cpu seconds', number(use.cpuSeconds, 2)],
    ['processes', `${number(use.pids)} of ${number(use.pidsLimit)}`],
    ['oom kills', number(use.oomKills)],
  ]
  cli.print(table(['RESOURCE', 'USE'], rows))
}
