import { type BroughtImage, CoppiceError, type Images, type ImportOptions } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { parseSource } from '../../image-place.ts'
import { imageWork, type WorkOptions } from '../../image-work.ts'
import { usageError } from '../../parse.ts'

interface Flags {
  name?: string
  platform?: string
  json?: boolean
}

export function register(image: Command, cli: Cli): void {
  image
    .command('import')
    .summary('bring an image in from an archive, an OCI layout or an engine')
    .description(
      'Import an image from an archive (OCI, docker save, or a root file system), an OCI layout or an engine. Prints its digest.',
    )
    .argument(
      '<src>',
      'FILE, docker-archive:FILE[:REF], oci-archive:FILE[:REF], oci:DIR[:REF], docker-daemon:REF or podman:REF; - as FILE is standard input',
    )
    .option('--name <name>', "what to call it (default: the name in it, else the file's without its endings)")
    .option('--platform <os/arch>', "which variant, like linux/arm64 (default: the gateway's own)")
    .option('--json', 'print the image as one JSON value; progress is lines of JSON')
    .addHelpText(
      'after',
      `
Examples:
  coppice image import rootfs.tar.zst --name tools
  docker save app:1 | coppice image import -
  coppice image import docker-archive:all.tar:app:1
  coppice image import oci:./layout --name app`,
    )
    .action((source: string, flags: Flags) => cli.finish(flags, () => importImage(cli, source, flags)))
}

async function importImage(cli: Cli, source: string, flags: Flags): Promise<void> {
  const bring = bringer(source)
  const { name, platform } = flags
  const image = await imageWork(cli, ({ images }, work) => bring(images, { ...work, name, platform }))
  if (flags.json) cli.printJson(image)
  else {
    if (image.facts.known) cli.say('imported before: not sent again')
    cli.print(image.digest)
  }
}

/** How a place is brought in. @throws for a place that is none, before a gateway is asked for anything */
function bringer(source: string): (images: Images, options: WorkOptions & ImportOptions) => Promise<BroughtImage> {
  const place = parseSource(source)
  switch (place.kind) {
    case 'docker-daemon':
    case 'podman':
      return (images, options) => images.pull(source, options)
    case 'stdio':
      return fromStandardInput({})
    case 'docker-archive':
    case 'oci-archive':
      if (place.path === '-') return fromStandardInput({ format: place.kind, ref: place.reference })
      return (images, options) => images.importPath(place, options)
    case 'registry':
      throw new CoppiceError('not_found', 'local_file_not_found', `There is no file ${source} here.`, {
        facts: { path: source },
        hint: `coppice image pull ${source}`,
      })
    case 'container':
      throw new CoppiceError('unsupported', 'image_source', 'Images are not imported from containers.', {
        hint: `docker export ${place.name} | coppice image import - --name ${place.name}`,
      })
    default:
      return (images, options) => images.importPath(place, options)
  }
}

function fromStandardInput(how: Pick<ImportOptions, 'format' | 'ref'>) {
  if (process.stdin.isTTY) throw usageError('An archive is not read from a terminal.', 'Name a file.')
  return async (images: Images, options: WorkOptions & ImportOptions) => {
    try {
      return await images.import(process.stdin, { ...options, ...how })
    } finally {
      process.stdin.destroy()
    }
  }
}
