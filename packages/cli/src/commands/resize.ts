import type { ResizeSandbox, SandboxInfo } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { parseCount, parseMemory, parseNumber, usageError } from '../parse.ts'
import { bytes } from '../table.ts'

interface Flags {
  memory?: number
  cpus?: number
  pids?: number
  json?: boolean
}

export function register(program: Command, cli: Cli): void {
  program
    .command('resize')
    .summary('change the limits of a sandbox')
    .description(
      'Change limits of a sandbox: at once while it runs, else at its next start. All that are given, or none: memory under what it uses is refused.',
    )
    .argument('<sandbox>', 'id or name')
    .option('--memory <mib>', 'memory in MiB, or like 2g', parseMemory)
    .option('--cpus <count>', 'cores, fractions allowed', parseNumber)
    .option('--pids <count>', 'processes and threads together', parseCount)
    .option('--json', 'print all that is known of it as one JSON value')
    .addHelpText('after', '\nExamples:\n  coppice resize box --memory 4g\n  coppice resize box --cpus 0.5 --pids 200')
    .action((name: string, flags: Flags) => cli.finish(flags, () => resize(cli, name, flags)))
}

async function resize(cli: Cli, name: string, { memory, cpus, pids, json }: Flags): Promise<void> {
  const change: ResizeSandbox = { memoryMB: memory, cpus, pids }
  if (Object.values(change).every((value) => value === undefined))
    throw usageError('Nothing is to be changed.', 'Say --memory, --cpus or --pids; see --help.')
  const info = await (await cli.sandbox(name)).resize(change)
  cli.say(limitsLine(info))
  if (json) cli.printJson(info)
}

function limitsLine({ id, name, state, limits }: SandboxInfo): string {
  const { memoryMB, cpus, pids } = limits
  const when = state === 'running' ? 'now has' : 'will have at its next start'
  return `${name ?? id} ${when}: memory ${bytes(memoryMB * 1024 * 1024)}, cpus ${cpus}, pids ${pids}`
}
