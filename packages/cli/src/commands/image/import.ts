import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { CoppiceError } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { parsePlace } from '../../image-place.ts'
import { usageError } from '../../parse.ts'
import { ProgressLine } from '../../progress-line.ts'

interface Flags {
  name?: string
  json?: boolean
}

/** How much of an archive is read at once, bytes. */
const READ_BYTES = 1024 * 1024

export function register(image: Command, cli: Cli): void {
  image
    .command('import')
    .description('Import an archive: a root file system (tar, also compressed) or an OCI archive. Prints its digest.')
    .argument('<src>', 'FILE, oci-archive:FILE, or - for standard input')
    .option('--name <name>', "what to call it (default: the file's name without its endings)")
    .option('--json', 'print the image as one JSON value')
    .addHelpText(
      'after',
      '\nExamples:\n  coppice image import rootfs.tar.zst --name tools\n  docker export C | coppice image import - --name mine',
    )
    .action((source: string, flags: Flags) => cli.finish(flags, () => importImage(cli, source, flags)))
}

async function importImage(cli: Cli, source: string, flags: Flags): Promise<void> {
  const { path, format } = parsePlace(source)
  const name =
    flags.name ?? (path === '-' ? undefined : basename(path).replace(/(\.(tar|tgz|gz|zst|xz|bz2|oci))+$/i, ''))
  if (!name) throw usageError('What is it to be called?', 'Give it a name: --name NAME')
  const size = path === '-' ? undefined : await sizeOf(path)
  const stream = path === '-' ? process.stdin : createReadStream(path, { highWaterMark: READ_BYTES })
  const line = new ProgressLine(process.stderr)
  try {
    const options = { name, format, size, onProgress: line.show.bind(line) }
    const image = await (await cli.gateway()).images.import(stream, options)
    line.end()
    if (flags.json) cli.printJson(image)
    else cli.print(image.digest)
  } finally {
    line.end()
    stream.destroy()
  }
}

/** The size of a regular file; undefined for a fifo, whose size nobody knows. */
async function sizeOf(path: string): Promise<number | undefined> {
  const found = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    const code = cause.code === 'ENOENT' ? 'not_found' : 'permission_denied'
    throw new CoppiceError(code, 'archive_unreadable', `${path} cannot be read: ${cause.code}.`, { cause })
  })
  if (found.isDirectory())
    throw new CoppiceError('invalid_argument', 'not_an_archive', `${path} is a folder, not an archive.`)
  return found.isFile() ? found.size : undefined
}
