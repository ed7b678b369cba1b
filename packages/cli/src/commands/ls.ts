import type { SandboxInfo } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { parsePair } from '../parse.ts'
import { age, bytes, oneLine, table } from '../table.ts'

interface Flags {
  label?: Record<string, string>
  all?: boolean
  quiet?: boolean
  json?: boolean
}

export function register(program: Command, cli: Cli): void {
  program
    .command('ls')
    .summary('list sandboxes')
    .description('List sandboxes.')
    .option('--label <name=value>', 'only those with this label (repeatable)', parsePair)
    .option('--all', 'also those that were removed in the last 7 days')
    .option('-q, --quiet', 'ids alone')
    .option('--json', 'one JSON value')
    .addHelpText('after', '\nExamples:\n  coppice ls\n  coppice ls --label run=42 -q')
    .action((flags: Flags) => cli.finish(flags, () => ls(cli, flags)))
}

async function ls(cli: Cli, flags: Flags): Promise<void> {
  const { sandboxes, skipped } = await (await cli.gateway()).sandboxes.listAll({ labels: flags.label, all: flags.all })
  for (const { file, reason } of skipped) cli.say(`coppice: ${file} could not be read: ${reason}`)
  if (flags.json) cli.printJson(sandboxes)
  else if (!flags.quiet)
    cli.print(table(['ID', 'NAME', 'STATE', 'IMAGE', 'DRIVER', 'MEMORY', 'CPUS', 'AGE'], sandboxes.map(row)))
  else if (sandboxes.length > 0) cli.print(sandboxes.map(({ id }) => id).join('\n'))
}

function row({ id, name, state, connected, image, driver, limits, createdAt }: SandboxInfo): string[] {
  const shown = state === 'running' && !connected ? 'running (no session)' : state
  const memory = bytes(limits.memoryMB * 1024 * 1024)
  return [id, name ?? '-', shown, oneLine(image, 40), driver, memory, String(limits.cpus), age(createdAt)]
}
