import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { imageWork } from '../../image-work.ts'

interface Flags {
  name?: string
  platform?: string
  json?: boolean
}

export function register(image: Command, cli: Cli): void {
  image
    .command('pull')
    .summary('bring an image in from a registry or an engine')
    .description('Bring an image in from a registry or an engine of this machine. Prints its digest.')
    .argument('<ref>', '[HOST[:PORT]/]NAME[:TAG][@sha256:…], docker-daemon:REF or podman:REF')
    .option('--name <name>', 'what to call it (default: the reference)')
    .option('--platform <os/arch>', "which variant, like linux/arm64 (default: the gateway's own)")
    .option('--json', 'print the image as one JSON value; progress is lines of JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  coppice image pull debian:13\n  coppice image pull ghcr.io/owner/app:1 --name app\n  coppice image pull docker-daemon:app:dev',
    )
    .action((ref: string, flags: Flags) => cli.finish(flags, () => pull(cli, ref, flags)))
}

async function pull(cli: Cli, ref: string, flags: Flags): Promise<void> {
  const { name, platform } = flags
  const image = await imageWork(cli, ({ images }, work) => images.pull(ref, { ...work, name, platform }))
  if (flags.json) cli.printJson(image)
  else cli.print(image.digest)
}
