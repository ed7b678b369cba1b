import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { register as registerBootstrap } from './image/bootstrap.ts'
import { register as registerBuild } from './image/build.ts'
import { register as registerExport } from './image/export.ts'
import { register as registerImport } from './image/import.ts'
import { register as registerLs } from './image/ls.ts'
import { register as registerPrune } from './image/prune.ts'
import { register as registerPull } from './image/pull.ts'
import { register as registerPush } from './image/push.ts'
import { register as registerRm } from './image/rm.ts'

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
  coppice image pull debian:13
  coppice image build ./app -t my/app:1
  coppice image import rootfs.tar.gz --name tools
  coppice image export my/app:1 app.tar
  coppice image push my/app:1 ghcr.io/owner/app:1`,
    )
  const commands = [
    registerLs,
    registerPull,
    registerImport,
    registerBuild,
    registerBootstrap,
    registerExport,
    registerPush,
    registerRm,
    registerPrune,
  ]
  for (const add of commands) add(image, cli)
}
