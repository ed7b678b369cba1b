import type { Command } from 'commander'
import { addEnvOption } from '../attached/options.ts'
import type { Cli } from '../cli.ts'
import { addCreateOptions, type CreateFlags, createOptions } from '../create-options.ts'
import { createSandbox } from '../create-sandbox.ts'

interface Flags extends CreateFlags {
  json?: boolean
}

export function register(program: Command, cli: Cli): void {
  const command = program
    .command('create')
    .summary('create a sandbox and print its id')
    .description('Create a sandbox, start it, and print its id alone.')
  addEnvOption(addCreateOptions(command))
    .option('--key <key>', 'idempotency key: the same key never creates two sandboxes')
    .option('--json', 'print all that is known of it as one JSON value')
    .addHelpText(
      'after',
      `
Examples:
  box=$(coppice create)
  coppice create --name box --memory 2g --cpus 2 --env CI=1
  coppice create --from debian:13 --label run=42
  coppice create --from ./app            # a folder with a Dockerfile: built, once for each content
  coppice create --from $(coppice checkpoint box)
  coppice create --from app.tar          # what \`docker save\` wrote, an OCI archive or a root file system`,
    )
    .action((flags: Flags) => cli.finish(flags, () => create(cli, flags)))
}

async function create(cli: Cli, flags: Flags): Promise<void> {
  const options = createOptions(flags)
  const sandbox = await createSandbox(cli, options)
  if (flags.json) cli.printJson(await sandbox.inspect())
  else cli.print(sandbox.id)
}
