import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { exitCodeOf } from '../exit-codes.ts'
import { age, oneLine, table } from '../table.ts'

export function register(program: Command, cli: Cli): void {
  program
    .command('ps')
    .summary('list the execs of a sandbox')
    .description('List the execs that run in a sandbox, and those whose result is still kept.')
    .argument('<sandbox>', 'id or name')
    .option('--json', 'one JSON value')
    .addHelpText('after', '\nExample:\n  coppice ps box')
    .action((name: string, flags: { json?: boolean }) => cli.finish(flags, () => ps(cli, name, flags)))
}

async function ps(cli: Cli, name: string, flags: { json?: boolean }): Promise<void> {
  const execs = await (await cli.sandbox(name)).execs()
  if (flags.json) {
    cli.printJson(execs)
    return
  }
  const rows = execs.map(({ id, state, pid, user, startedAt, result, argv }) => [
    id,
    state,
    String(pid ?? '-'),
    user,
    age(startedAt),
    result ? String(exitCodeOf(result)) : '-',
    oneLine(argv.join(' '), 60),
  ])
  cli.print(table(['EXEC', 'STATE', 'PID', 'USER', 'AGE', 'EXIT', 'COMMAND'], rows))
}
