import { pipeline } from 'node:stream/promises'
import { CoppiceError, type ExportOptions } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { writeArchive } from '../../export/archive-file.ts'
import { writeLayout } from '../../export/layout-folder.ts'
import { parseTarget } from '../../image-place.ts'
import { imageWork } from '../../image-work.ts'
import { usageError } from '../../parse.ts'

export function register(image: Command, cli: Cli): void {
  image
    .command('export')
    .description('Write an image as archive or OCI layout, which any tool of the field can read.')
    .argument('<ref>', 'as `coppice image ls` names it')
    .argument(
      '<dst>',
      'FILE or oci-archive:FILE[:REF], docker-archive:FILE[:REF], oci:DIR[:REF], or - for standard output',
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

async function exportImage(cli: Cli, ref: string, text: string): Promise<void> {
  const { format, name, write } = exporter(ref, text)
  await imageWork(cli, async ({ images }, { onProgress, signal }) => {
    const archive = await images.export(ref, { format, name, onProgress, signal })
    await write(archive, signal)
  })
}

interface Exporter extends Pick<ExportOptions, 'format' | 'name'> {
  write(archive: AsyncIterable<Buffer>, signal: AbortSignal): Promise<void>
}

function exporter(ref: string, text: string): Exporter {
  const place = parseTarget(text)
  switch (place.kind) {
    case 'stdio':
      if (process.stdout.isTTY) throw usageError('An archive is not written to a terminal.', 'Name a file.')
      return { write: (archive, signal) => pipeline(archive, process.stdout, { end: false, signal }) }
    case 'file':
    case 'oci-archive':
    case 'docker-archive': {
      const [format, name] =
        place.kind === 'file' ? (['oci-archive', undefined] as const) : ([place.kind, place.reference] as const)
      return { format, name, write: (archive, signal) => writeArchive(archive, place.path, signal) }
    }
    case 'oci':
      return {
        format: 'oci-archive',
        name: place.reference,
        write: (archive, signal) => writeLayout(archive, place.path, signal),
      }
    default:
      throw new CoppiceError('invalid_argument', 'invalid_image_target', `Images are not exported to ${text}.`, {
        hint: `coppice image push ${ref} ${text}`,
      })
  }
}
