import { CoppiceError } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { EXIT_COPPICE_FAILED } from '../../exit-codes.ts'

export function register(image: Command, cli: Cli): void {
  image
    .command('rm')
    .summary('remove images')
    .description('Remove images and what only they used. Prints the names of those removed.')
    .argument('<ref...>', 'as `coppice image ls` names them')
    .action((refs: string[]) => cli.finish({}, () => rm(cli, refs)))
}

async function rm(cli: Cli, refs: string[]): Promise<number> {
  const { images } = await cli.gateway()
  let failed = false
  for (const ref of refs) {
    try {
      await images.remove(ref)
      cli.print(ref)
    } catch (error) {
      failed = true
      cli.sayError(CoppiceError.from(error))
    }
  }
  return failed ? EXIT_COPPICE_FAILED : 0
}
