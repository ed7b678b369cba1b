import type { Command } from 'commander'
import { addEnvOption, addRunOptions, type RunFlags, runOptions } from '../attached/options.ts'
import { startAttached } from '../attached/start.ts'
import type { Cli } from '../cli.ts'
import { exitCodeOf } from '../exit-codes.ts'
import { usageError } from '../parse.ts'

interface Flags extends RunFlags {
  detach?: boolean
  json?: boolean
}

export function register(program: Command, cli: Cli): void {
  const command = program
    .command('exec')
    .summary('run a command in a sandbox')
    .description("Run a command in a sandbox. The exit status is the command's own; 128+n for signal n.")
    .argument('<sandbox>', 'id or name')
    .argument('<command...>', 'program and arguments, after --')
  addEnvOption(addRunOptions(command))
    .option('--detach', 'start it, print its exec id, and leave it running')
    .option('--key <key>', 'idempotency key: the same key never runs twice in a sandbox')
    .option('--json', 'print the result and the output as one JSON value')
    .addHelpText(
      'after',
      `
Examples:
  coppice exec box -- ls -la /
  coppice exec box -t -- bash
  tar c . | coppice exec box -i --cwd /src -- tar x
  coppice exec box --timeout 30s -- make test
  id=$(coppice exec box --detach -- ./server) && coppice attach box "$id"`,
    )
    .action((name: string, argv: string[], flags: Flags) => cli.finish(flags, () => exec(cli, name, argv, flags)))
}

async function exec(cli: Cli, name: string, argv: string[], flags: Flags): Promise<number> {
  const options = runOptions(flags)
  const withInput = options.terminal || options.interactive
  if (flags.json && options.terminal) throw usageError('--json and --tty do not go together.')
  if (flags.detach && withInput) throw usageError('--detach goes with neither --tty nor --interactive.')
  const sandbox = await cli.sandbox(name)
  if (flags.detach) {
    const info = await sandbox.detached(argv, options.spawn)
    if (flags.json) cli.printJson(info)
    else cli.print(info.id)
    return 0
  }
  if (flags.json) {
    const outcome = await sandbox.exec(argv, { ...options.spawn, ...(withInput ? { stdin: process.stdin } : {}) })
    cli.printJson(outcome)
    return exitCodeOf(outcome)
  }
  return startAttached(cli, sandbox, argv, options)
}
