import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { imageWork } from '../../image-work.ts'

interface Flags {
  force?: boolean
  json?: boolean
}

export function register(image: Command, cli: Cli): void {
  image
    .command('bootstrap')
    .summary('make the image `base`')
    .description('Make the image `base` from the distribution’s packages. Prints its digest.')
    .option('--force', 'make it anew, also when it is there')
    .option('--json', 'print the image as one JSON value')
    .action((flags: Flags) => cli.finish(flags, () => bootstrap(cli, flags)))
}

async function bootstrap(cli: Cli, flags: Flags): Promise<void> {
  const image = await imageWork(cli, ({ images }, { onProgress, signal }) =>
    images.bootstrap({ force: flags.force === true, onProgress, signal }),
  )
  if (flags.json) cli.printJson(image)
  else cli.print(image.digest)
}
