import type { CreateOptions, Sandbox } from '@coppice/sdk'
import type { Cli } from './cli.ts'
import { imageWork } from './image-work.ts'

/** Creates a sandbox; its image is built, imported or pulled first where that is needed, and what it was taken for is said. */
export async function createSandbox(cli: Cli, options: CreateOptions): Promise<Sandbox> {
  // Nothing to wait for: a program that is ended in between leaves what its signal leaves.
  if (options.from === undefined) return (await cli.gateway()).sandboxes.create(options)
  return imageWork(cli, ({ sandboxes }, work) => sandboxes.create({ ...options, ...work }))
}
