import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { parseCount } from '../parse.ts'

export function register(program: Command, cli: Cli): void {
  program
    .command('logs')
    .summary("what a sandbox's init and supervisor have written")
    .description(
      "Print what a sandbox's init and supervisor have written. For a command's output see `coppice attach`.",
    )
    .argument('<sandbox>', 'id or name')
    .option('--bytes <count>', 'only the last so many bytes', parseCount)
    .addHelpText('after', '\nExample:\n  coppice logs box')
    .action((name: string, flags: { bytes?: number }) =>
      cli.finish({}, async () => {
        const text = await (await cli.sandbox(name)).logs(flags)
        process.stdout.write(text === '' || text.endsWith('\n') ? text : `${text}\n`)
      }),
    )
}
