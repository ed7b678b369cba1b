import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { CoppiceError, type Exported, type ExportOptions, type ImagePlace, type Images } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { namesRegistry, parseTarget } from '../../image-place.ts'
import { imageWork, type WorkOptions } from '../../image-work.ts'
import { usageError } from '../../parse.ts'

interface Flags {
  json?: boolean
}

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
    .option('--json', 'print what was written as one JSON value; progress is lines of JSON')
    .addHelpText(
      'after',
      `
Examples:
  coppice image export base base.tar && skopeo inspect oci-archive:base.tar
  coppice image export app docker-archive:app.tar && docker load -i app.tar
  coppice image export app - | ssh host coppice image import - --name app`,
    )
    .action((ref: string, target: string, flags: Flags) => cli.finish(flags, () => exportImage(cli, ref, target)))
}

async function exportImage(cli: Cli, ref: string, target: string): Promise<void> {
  const write = writer(ref, target, cli.json)
  const written = await imageWork(cli, ({ images }, { onProgress, onLog, signal }) => {
    const advice = packingAdvice(ref, parseTarget(target, ref))
    if (advice !== undefined) onLog(advice)
    return write(images, { onProgress, signal })
  })
  if (cli.json) cli.printJson(written)
}

/** Programs by the endings that people give to what they have packed. */
const PACKERS: [RegExp, string][] = [
  [/\.(tgz|gz)$/i, 'gzip'],
  [/\.(tzst|zst)$/i, 'zstd'],
  [/\.(txz|xz)$/i, 'xz'],
  [/\.(tbz2|bz2)$/i, 'bzip2'],
]

/** For a file whose ending promises what it is not going to be. */
function packingAdvice(ref: string, place: ImagePlace): string | undefined {
  if (place.kind !== 'file' && place.kind !== 'oci-archive' && place.kind !== 'docker-archive') return undefined
  const [, tool] = PACKERS.find(([ending]) => ending.test(place.path)) ?? []
  if (tool === undefined) return undefined
  const output = place.kind === 'file' ? '-' : `${place.kind}:-`
  return `${place.path} is a plain tar, whatever its ending. For a packed one: coppice image export ${ref} ${output} | ${tool} > ${place.path}`
}

/** How a place is written. @throws for a place that is none, before a gateway is asked for anything */
function writer(
  ref: string,
  target: string,
  json: boolean,
): (images: Images, options: Pick<WorkOptions, 'onProgress' | 'signal'>) => Promise<Exported | undefined> {
  const place = parseTarget(target, ref)
  switch (place.kind) {
    case 'stdio':
      return toStandardOutput(ref, {}, json)
    case 'oci-archive':
    case 'docker-archive':
      if (place.path === '-') return toStandardOutput(ref, { format: place.kind, name: place.reference }, json)
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

function toStandardOutput(ref: string, how: Pick<ExportOptions, 'format' | 'name'>, json: boolean) {
  if (json) throw usageError('The archive and --json cannot both have standard output.', 'Name a file.')
  if (process.stdout.isTTY) throw usageError('An archive is not written to a terminal.', 'Name a file.')
  return async (images: Images, options: Pick<WorkOptions, 'onProgress' | 'signal'>) => {
    await pipeline(await images.export(ref, { ...options, ...how }), process.stdout, { end: false })
    return undefined
  }
}

function notExported(ref: string, target: string): CoppiceError {
  return new CoppiceError('invalid_argument', 'invalid_image_target', `Images are not exported to ${target}.`, {
    hint: `coppice image push ${ref} ${target}`,
  })
}
