import { CoppiceError } from '@coppice/sdk'
import type { Command } from 'commander'
import { addEnvOption, addRunOptions, type RunFlags, runOptions } from '../attached/options.ts'
import { startAttached } from '../attached/start.ts'
import type { Cli } from '../cli.ts'
import { addCreateOptions, type CreateFlags, createOptions } from '../create-options.ts'
import { createSandbox } from '../create-sandbox.ts'

type Flags = CreateFlags & RunFlags

export function register(program: Command, cli: Cli): void {
  const command = program
    .command('run')
    .summary('create a sandbox, run a command in it, remove it')
    .description("Create a sandbox, run a command in it, and remove it. The exit status is the command's own.")
    .argument('<command...>', 'program and arguments, after --')
  addEnvOption(addRunOptions(addCreateOptions(command)))
    .addHelpText(
      'after',
      `
Examples:
  coppice run -- python3 -c 'print(6 * 7)'
  coppice run -t --memory 4g -- bash
  echo 'print(1)' | coppice run -i -- python3 -`,
    )
    .action((argv: string[], flags: Flags) => cli.finish({}, () => run(cli, argv, flags)))
}

async function run(cli: Cli, argv: string[], flags: Flags): Promise<number> {
  const sandbox = await createSandbox(cli, createOptions(flags))
  try {
    return await startAttached(cli, sandbox, argv, runOptions(flags))
  } finally {
    await sandbox.remove().catch((error: unknown) => {
      const { message } = CoppiceError.from(error)
      cli.say(`coppice: sandbox ${sandbox.id} was not removed: ${message}\n  coppice rm ${sandbox.id}`)
    })
  }
}
