import type { Command } from 'commander'
import type { Cli } from '../cli.ts'

export function register(program: Command, cli: Cli): void {
  program
    .command('start')
    .summary('start a stopped sandbox again')
    .description('Start a stopped sandbox again, with the files it had. Prints its id.')
    .argument('<sandbox>', 'id or name')
    .option('--json', 'print all that is known of it as one JSON value')
    .addHelpText('after', '\nExample:\n  coppice start box')
    .action((name: string, flags: { json?: boolean }) =>
      cli.finish(flags, async () => {
        const info = await (await cli.sandbox(name)).start()
        if (flags.json) cli.printJson(info)
        else cli.print(info.id)
      }),
    )
}
