import { randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { CoppiceError } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { parsePlace } from '../../image-place.ts'

export function register(image: Command, cli: Cli): void {
  image
    .command('export')
    .description('Write an image as OCI archive.')
    .argument('<ref>', 'as `coppice image ls` names it')
    .argument('<dst>', 'FILE, oci-archive:FILE, or - for standard output')
    .addHelpText('after', '\nExample:\n  coppice image export base base.tar && skopeo inspect oci-archive:base.tar')
    .action((ref: string, target: string) => cli.finish({}, () => exportImage(cli, ref, target)))
}

async function exportImage(cli: Cli, ref: string, target: string): Promise<void> {
  const { path } = parsePlace(target)
  const stream = await (await cli.gateway()).images.export(ref)
  if (path === '-') {
    await pipeline(stream, process.stdout, { end: false })
    return
  }
  // Under its name only when it is whole.
  const draft = `${path}.${randomBytes(4).toString('hex')}.new`
  try {
    await pipeline(stream, createWriteStream(draft, { flags: 'wx' }))
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true })
    if (error instanceof CoppiceError) throw error
    const { code } = error as NodeJS.ErrnoException
    throw new CoppiceError('failed_precondition', 'target_unwritable', `${path} cannot be written: ${code}.`, {
      cause: error,
    })
  }
}
