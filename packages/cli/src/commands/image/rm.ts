import { CoppiceError } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { EXIT_COPPICE_FAILED } from '../../exit-codes.ts'

interface Flags {
  json?: boolean
}

export function register(image: Command, cli: Cli): void {
  image
    .command('rm')
    .summary('remove images')
    .description('Remove images and what only they used. Prints the names of those removed.')
    .argument('<ref...>', 'as `coppice image ls` names them')
    .option('--json', 'print which went as one JSON value')
    .action((refs: string[], flags: Flags) => cli.finish(flags, () => rm(cli, refs, flags)))
}

async function rm(cli: Cli, refs: string[], flags: Flags): Promise<number> {
  const { images } = await cli.gateway()
  const removed: { ref: string }[] = []
  let failed = false
  for (const ref of refs) {
    try {
      await images.remove(ref)
      removed.push({ ref })
      if (!flags.json) cli.print(ref)
    } catch (error) {
      failed = true
      cli.sayError(CoppiceError.from(error))
    }
  }
  if (flags.json && !failed) cli.printJson(removed)
  return failed ? EXIT_COPPICE_FAILED : 0
}
