import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'

export function register(image: Command, cli: Cli): void {
  image
    .command('rm')
    .description('Remove an image and what only it used.')
    .argument('<ref>', 'as `coppice image ls` names it')
    .action((ref: string) => cli.finish({}, async () => (await cli.gateway()).images.remove(ref)))
}
