import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { register as registerBootstrap } from './image/bootstrap.ts'
import { register as registerExport } from './image/export.ts'
import { register as registerImport } from './image/import.ts'
import { register as registerLs } from './image/ls.ts'
import { register as registerRm } from './image/rm.ts'
import { refuse } from './later.ts'

export function register(program: Command, cli: Cli): void {
  const image = program
    .command('image')
    .summary('what sandboxes are made from')
    .description("The images in the gateway's store.")
    .addHelpText(
      'after',
      `
Examples:
  coppice image bootstrap
  coppice image import rootfs.tar.gz --name my/app:1
  coppice image export my/app:1 app.tar`,
    )
  for (const add of [registerLs, registerImport, registerExport, registerBootstrap, registerRm]) add(image, cli)
  refuse(image, cli, 'pull', 'Pulling an image from a registry', 'coppice image import ARCHIVE --name NAME')
  refuse(image, cli, 'push', 'Pushing an image to a registry', 'coppice image export REF FILE')
  refuse(image, cli, 'build', 'Building an image', 'coppice image import ARCHIVE --name NAME')
}
