import type { Command } from 'commander'
import type { Cli } from '../cli.ts'

export function register(program: Command, cli: Cli): void {
  program
    .command('inspect')
    .summary('all that is known of a sandbox, as JSON')
    .description('Print all that is known of a sandbox as JSON; of a removed one for 7 days, with why it ended.')
    .argument('<sandbox>', 'id or name')
    .option('--json', 'the same: it is JSON anyway')
    .addHelpText('after', '\nExample:\n  coppice inspect box')
    .action((name: string) =>
      cli.finish({ json: true }, async () => cli.printJson(await (await cli.sandbox(name)).inspect())),
    )
}
