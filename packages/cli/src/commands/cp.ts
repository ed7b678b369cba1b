import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { copy } from '../copy/copy.ts'
import { parsePlaceOfCopy } from '../copy/place.ts'

export function register(program: Command, cli: Cli): void {
  program
    .command('cp')
    .summary('copy files and folders into, out of and between sandboxes')
    .description(
      'Copy a file or a folder with all in it. A target that is a folder gets the source inside; SRC/. means what is in SRC. ' +
        'A file appears under its name only when it is whole.',
    )
    .argument('<src>', 'SANDBOX:PATH, a local path, or - for a tar on standard input')
    .argument('<dst>', 'SANDBOX:PATH, a local path, or - for a tar on standard output')
    .addHelpText(
      'after',
      `
Examples:
  coppice cp ./src box:/work
  coppice cp box:/work/report.txt .
  coppice cp box:/work/. ./copy-of-work
  coppice cp box:/work other:/work
  coppice cp box:/work - | gzip > work.tar.gz`,
    )
    .action((source: string, target: string) =>
      cli.finish({}, () => copy(cli, parsePlaceOfCopy(source), parsePlaceOfCopy(target))),
    )
}
