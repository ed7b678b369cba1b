import { CoppiceError } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { EXIT_COPPICE_FAILED } from '../exit-codes.ts'
import { parsePair, usageError } from '../parse.ts'

interface Flags {
  all?: boolean
  label?: Record<string, string>
  json?: boolean
}

/** Sandboxes that are removed at one time. */
const PARALLEL = 8

export function register(program: Command, cli: Cli): void {
  program
    .command('rm')
    .summary('end sandboxes and delete their files')
    .description(
      'End sandboxes and delete their files. Prints the ids of those removed. Why each ended is kept for 7 days.',
    )
    .argument('[sandbox...]', 'ids or names')
    .option('--all', 'all there are')
    .option('--label <name=value>', 'all with this label (repeatable)', parsePair)
    .option('--json', 'print all that is known of them as one JSON value')
    .addHelpText('after', '\nExamples:\n  coppice rm box\n  coppice rm --label run=42\n  coppice rm --all')
    .action((names: string[], flags: Flags) => cli.finish(flags, () => rm(cli, names, flags)))
}

async function rm(cli: Cli, names: string[], flags: Flags): Promise<number> {
  const chosen = flags.all || flags.label !== undefined
  if (chosen === names.length > 0) throw usageError('Name the sandboxes, or say --all or --label, not both.')
  const { sandboxes } = await cli.gateway()
  const wanted = chosen ? (await sandboxes.list({ labels: flags.label })).map(({ id }) => id) : [...names]
  const removed: unknown[] = []
  let failed = false
  const worker = async () => {
    for (let name = wanted.shift(); name !== undefined; name = wanted.shift()) {
      try {
        const info = await sandboxes.remove(name)
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
