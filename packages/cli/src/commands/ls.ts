import type { CheckpointInfo, SandboxInfo } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { parsePair, usageError } from '../parse.ts'
import { age, bytes, oneLine, table } from '../table.ts'

interface Flags {
  label?: Record<string, string>
  all?: boolean
  checkpoints?: boolean
  quiet?: boolean
  json?: boolean
}

export function register(program: Command, cli: Cli): void {
  program
    .command('ls')
    .summary('list sandboxes, or checkpoints')
    .description('List sandboxes, or with --checkpoints what was saved of them.')
    .option('--label <name=value>', 'only those with this label (repeatable)', parsePair)
    .option('--all', 'also those that were removed in the last 7 days')
    .option('--checkpoints', 'checkpoints instead of sandboxes')
    .option('-q, --quiet', 'ids alone')
    .option('--json', 'one JSON value')
    .addHelpText('after', '\nExamples:\n  coppice ls\n  coppice ls --label run=42 -q\n  coppice ls --checkpoints')
    .action((flags: Flags) => cli.finish(flags, () => ls(cli, flags)))
}

async function ls(cli: Cli, flags: Flags): Promise<void> {
  if (flags.checkpoints) return lsCheckpoints(cli, flags)
  const { sandboxes, skipped } = await (await cli.gateway()).sandboxes.listAll({ labels: flags.label, all: flags.all })
  for (const { file, reason } of skipped) cli.say(`coppice: ${file} could not be read: ${reason}`)
  if (flags.json) cli.printJson(sandboxes)
  else if (!flags.quiet)
    cli.print(table(['ID', 'NAME', 'STATE', 'IMAGE', 'DRIVER', 'MEMORY', 'CPUS', 'AGE'], sandboxes.map(row)))
  else if (sandboxes.length > 0) cli.print(sandboxes.map(({ id }) => id).join('\n'))
}

async function lsCheckpoints(cli: Cli, flags: Flags): Promise<void> {
  if (flags.all || flags.label) throw usageError('--all and --label choose among sandboxes, not checkpoints.')
  const { checkpoints, skipped } = await (await cli.gateway()).checkpoints.listAll()
  for (const { file, reason } of skipped) cli.say(`coppice: ${file} could not be read: ${reason}`)
  if (flags.json) cli.printJson(checkpoints)
  else if (!flags.quiet)
    cli.print(
      table(['ID', 'NAME', 'KIND', 'SANDBOX', 'IMAGE', 'DRIVER', 'SIZE', 'AGE'], checkpoints.map(checkpointRow)),
    )
  else if (checkpoints.length > 0) cli.print(checkpoints.map(({ id }) => id).join('\n'))
}

function checkpointRow(checkpoint: CheckpointInfo): string[] {
  const { id, name, kind, sandboxId, sandboxName, image, driver, sizeBytes, createdAt } = checkpoint
  const from = sandboxName ?? sandboxId
  return [id, name ?? '-', kind, from, oneLine(image, 40), driver, bytes(sizeBytes), age(createdAt)]
}

function row({ id, name, state, connected, image, driver, limits, createdAt }: SandboxInfo): string[] {
  const shown = state === 'running' && !connected ? 'running (no session)' : state
  const memory = bytes(limits.memoryMB * 1024 * 1024)
  return [id, name ?? '-', shown, oneLine(image, 40), driver, memory, String(limits.cpus), age(createdAt)]
}
