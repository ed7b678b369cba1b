import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { CoppiceError, type ExportOptions, type Images } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { namesRegistry, parseTarget } from '../../image-place.ts'
import { imageWork, type WorkOptions } from '../../image-work.ts'
import { usageError } from '../../parse.ts'

export function register(image: Command, cli: Cli): void {
  image
    .command('export')
    .summary('write an image as archive or OCI layout')
    .description('Write an image as archive or OCI layout, which any tool of the field can read.')
    .argument('<ref>', 'as `coppice image ls` names it')
    .argument(
      '<dst>',
      'FILE or oci-archive:FILE[:REF], docker-archive:FILE[:REF], oci:DIR[:REF]; - as FILE is standard output',
    )
    .addHelpText(
      'after',
      `
Examples:
  coppice image export base base.tar && skopeo inspect oci-archive:base.tar
  coppice image export app docker-archive:app.tar && docker load -i app.tar
  coppice image export app - | ssh host coppice image import - --name app`,
    )
    .action((ref: string, target: string) => cli.finish({}, () => exportImage(cli, ref, target)))
}

async function exportImage(cli: Cli, ref: string, target: string): Promise<void> {
  const write = writer(ref, target)
  await imageWork(cli, ({ images }, { onProgress, signal }) => write(images, { onProgress, signal }))
}

/** How a place is written. @throws for a place that is none, before a gateway is asked for anything */
function writer(
  ref: string,
  target: string,
): (images: Images, options: Pick<WorkOptions, 'onProgress' | 'signal'>) => Promise<void> {
  const place = parseTarget(target, ref)
  switch (place.kind) {
    case 'stdio':
      return toStandardOutput(ref, {})
    case 'oci-archive':
    case 'docker-archive':
      if (place.path === '-') return toStandardOutput(ref, { format: place.kind, name: place.reference })
      return (images, options) => images.exportPath(ref, place, options)
    case 'file':
      if (namesRegistry(target) && !existsSync(dirname(target))) throw notExported(ref, target)
      return (images, options) => images.exportPath(ref, place, options)
    case 'oci':
      return (images, options) => images.exportPath(ref, place, options)
    default:
      throw notExported(ref, target)
  }
}

function toStandardOutput(ref: string, how: Pick<ExportOptions, 'format' | 'name'>) {
  if (process.stdout.isTTY) throw usageError('An archive is not written to a terminal.', 'Name a file.')
  return async (images: Images, options: Pick<WorkOptions, 'onProgress' | 'signal'>) =>
    pipeline(await images.export(ref, { ...options, ...how }), process.stdout, { end: false })
}

function notExported(ref: string, target: string): CoppiceError {
  return new CoppiceError('invalid_argument', 'invalid_image_target', `Images are not exported to ${target}.`, {
    hint: `coppice image push ${ref} ${target}`,
  })
}
