import { type Coppice, CoppiceError, isCheckpointId } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { EXIT_COPPICE_FAILED } from '../exit-codes.ts'
import { parsePair, usageError } from '../parse.ts'

interface Flags {
  all?: boolean
  label?: Record<string, string>
  checkpoints?: boolean
  json?: boolean
}

/** Sandboxes or checkpoints that are removed at one time. */
const PARALLEL = 8

export function register(program: Command, cli: Cli): void {
  program
    .command('rm')
    .summary('end sandboxes and delete their files, or remove checkpoints')
    .description(
      'End sandboxes and delete their files. Prints the ids of those removed. Why each ended is kept for 7 days. Ids of checkpoints are taken too.',
    )
    .argument('[sandbox...]', 'ids or names of sandboxes, ids of checkpoints')
    .option('--all', 'all there are')
    .option('--checkpoints', 'names are those of checkpoints, and --all is all of these')
    .option('--label <name=value>', 'all with this label (repeatable)', parsePair)
    .option('--json', 'print all that is known of them as one JSON value')
    .addHelpText(
      'after',
      '\nExamples:\n  coppice rm box\n  coppice rm --label run=42\n  coppice rm --all\n  coppice rm --checkpoints ready',
    )
    .action((names: string[], flags: Flags) => cli.finish(flags, () => rm(cli, names, flags)))
}

async function rm(cli: Cli, names: string[], flags: Flags): Promise<number> {
  const chosen = flags.all || flags.label !== undefined
  if (chosen === names.length > 0) throw usageError('Name the sandboxes, or say --all or --label, not both.')
  if (flags.checkpoints && flags.label) throw usageError('Checkpoints have no labels.')
  const gateway = await cli.gateway()
  const wanted = chosen ? await allOf(gateway, flags) : [...names]
  const removed: unknown[] = []
  let failed = false
  const worker = async () => {
    for (let name = wanted.shift(); name !== undefined; name = wanted.shift()) {
      try {
        const { sandboxes, checkpoints } = gateway
        const saved = flags.checkpoints || isCheckpointId(name)
        const info = await (saved ? checkpoints.remove(name) : sandboxes.remove(name))
        removed.push(info)
        if (!flags.json) cli.print(info.id)
      } catch (error) {
        failed = true
        cli.sayError(CoppiceError.from(error))
      }
    }
  }
  await Promise.all(Array.from({ length: PARALLEL }, worker))
  if (flags.json && !failed) cli.printJson(removed)
  return failed ? EXIT_COPPICE_FAILED : 0
}

async function allOf({ sandboxes, checkpoints }: Coppice, flags: Flags): Promise<string[]> {
  const all = flags.checkpoints ? await checkpoints.list() : await sandboxes.list({ labels: flags.label })
  return all.map(({ id }) => id)
}
