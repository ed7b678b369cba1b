import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { imageWork } from '../../image-work.ts'
import { bytes } from '../../table.ts'

export function register(image: Command, cli: Cli): void {
  image
    .command('prune')
    .summary('remove what nothing needs')
    .description('Remove what no name and no sandbox needs, and what cut transfers have left.')
    .option('--json', 'print what went as one JSON value')
    .action((flags: { json?: boolean }) => cli.finish(flags, () => prune(cli, flags)))
}

async function prune(cli: Cli, flags: { json?: boolean }): Promise<void> {
  const pruned = await imageWork(cli, ({ images }, { signal }) => images.prune({ signal }))
  if (flags.json) {
    cli.printJson(pruned)
    return
  }
  const { images, blobs, layers, partials, kept } = pruned
  const parts = [
    [images, 'image'],
    [blobs, 'blob'],
    [layers, 'unpacked layer'],
    [partials, 'unfinished transfer'],
  ] as const
  const gone = parts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}${count === 1 ? '' : 's'}`)
  if (kept > 0) {
    const images = `${kept} image${kept === 1 ? '' : 's'} without a name`
    cli.say(`Kept ${images}: what may need them is in files of the registry that cannot be read: coppice doctor`)
  }
  cli.say(gone.length === 0 ? 'Nothing to remove.' : `Removed ${gone.join(', ')}: ${bytes(pruned.bytes)}.`)
}
