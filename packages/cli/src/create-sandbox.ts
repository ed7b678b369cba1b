import type { CreateOptions, Sandbox } from '@coppice/sdk'
import type { Cli } from './cli.ts'
import { imageWork } from './image-work.ts'

/** Creates a sandbox; its image is built, imported or pulled first where that is needed, and what it was taken for is said. */
export function createSandbox(cli: Cli, options: CreateOptions): Promise<Sandbox> {
  return imageWork(cli, ({ sandboxes }, work) => sandboxes.create({ ...options, ...work }))
}
