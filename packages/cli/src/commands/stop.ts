import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { parseDuration } from '../parse.ts'

interface Flags {
  grace?: number
  json?: boolean
}

export function register(program: Command, cli: Cli): void {
  program
    .command('stop')
    .summary('end all processes of a sandbox, keep its files')
    .description('End all processes of a sandbox and keep its files. Prints its id.')
    .argument('<sandbox>', 'id or name')
    .option('--grace <time>', 'between TERM and KILL (default: 10s)', parseDuration)
    .option('--json', 'print all that is known of it as one JSON value')
    .addHelpText('after', '\nExample:\n  coppice stop box && coppice start box')
    .action((name: string, flags: Flags) =>
      cli.finish(flags, async () => {
        const info = await (await cli.sandbox(name)).stop(flags.grace === undefined ? {} : { graceMs: flags.grace })
        if (flags.json) cli.printJson(info)
        else cli.print(info.id)
      }),
    )
}
