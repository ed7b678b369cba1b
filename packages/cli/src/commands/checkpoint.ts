import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { interruptible } from '../interrupt.ts'

interface Flags {
  name?: string
  key?: string
  json?: boolean
}

export function register(program: Command, cli: Cli): void {
  program
    .command('checkpoint')
    .summary('save the files of a sandbox and print the id of what was saved')
    .description(
      'Save the files of a sandbox, running or stopped, as a checkpoint, and print its id alone. It is held still for that; what runs in it goes on.',
    )
    .argument('<sandbox>', 'id or name')
    .option('--name <name>', 'a name to call it by, unique among checkpoints')
    .option('--key <key>', 'idempotency key: the same key never makes two checkpoints')
    .option('--json', 'print all that is known of it as one JSON value')
    .addHelpText(
      'after',
      `
Examples:
  saved=$(coppice checkpoint box)
  coppice create --from $saved
  coppice checkpoint box --name ready && coppice ls --checkpoints`,
    )
    .action((name: string, flags: Flags) => cli.finish(flags, () => checkpoint(cli, name, flags)))
}

async function checkpoint(cli: Cli, sandbox: string, { name, key, json }: Flags): Promise<void> {
  const handle = await cli.sandbox(sandbox)
  const info = await interruptible((signal) => handle.checkpoint({ name, key, signal }))
  if (json) cli.printJson(info)
  else cli.print(info.id)
}
