import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { age, bytes, oneLine, table } from '../../table.ts'

export function register(image: Command, cli: Cli): void {
  image
    .command('ls')
    .summary('list the images in the store')
    .description('List the images in the store.')
    .option('--json', 'one JSON value')
    .action((flags: { json?: boolean }) => cli.finish(flags, () => ls(cli, flags)))
}

async function ls(cli: Cli, flags: { json?: boolean }): Promise<void> {
  const images = await (await cli.gateway()).images.list()
  if (flags.json) {
    cli.printJson(images)
    return
  }
  const rows = images.map(({ name, digest, architecture, sizeBytes, layers, createdAt, source }) => [
    name,
    digest.replace(/^sha256:/, '').slice(0, 12),
    architecture,
    bytes(sizeBytes),
    String(layers),
    age(createdAt),
    oneLine(source, 40),
  ])
  cli.print(table(['NAME', 'DIGEST', 'ARCH', 'SIZE', 'LAYERS', 'AGE', 'SOURCE'], rows))
}
