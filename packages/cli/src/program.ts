import { Command, CommanderError } from 'commander'
import type { Cli } from './cli.ts'
import { EXIT_COPPICE_FAILED } from './exit-codes.ts'
import { VERSION } from './version.ts'

interface CommandModule {
  register(program: Command, cli: Cli): void
}

/** Commands in the order in which help shows them. Only the one that is wanted is loaded. */
const COMMANDS: Record<string, () => Promise<CommandModule>> = {
  create: () => import('./commands/create.ts'),
  run: () => import('./commands/run.ts'),
  exec: () => import('./commands/exec.ts'),
  attach: () => import('./commands/attach.ts'),
  ps: () => import('./commands/ps.ts'),
  kill: () => import('./commands/kill.ts'),
  cp: () => import('./commands/cp.ts'),
  ls: () => import('./commands/ls.ts'),
  inspect: () => import('./commands/inspect.ts'),
  logs: () => import('./commands/logs.ts'),
  network: () => import('./commands/network.ts'),
  forward: () => import('./commands/forward.ts'),
  preview: () => import('./commands/preview.ts'),
  stats: () => import('./commands/stats.ts'),
  stop: () => import('./commands/stop.ts'),
  start: () => import('./commands/start.ts'),
  resize: () => import('./commands/resize.ts'),
  checkpoint: () => import('./commands/checkpoint.ts'),
  rm: () => import('./commands/rm.ts'),
  image: () => import('./commands/image.ts'),
  gateway: () => import('./commands/gateway.ts'),
  doctor: () => import('./commands/doctor.ts'),
}

const LATER = () => import('./commands/later.ts')

/** Runs one command line (without program names) and leaves its exit status in `cli.exitCode`. */
export async function runProgram(argv: readonly string[], cli: Cli): Promise<void> {
  const program = new Command('coppice')
    .description('Sandboxes for AI agents: isolated places where untrusted code can run.')
    .version(VERSION)
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'coppice: ')) })
    .addHelpText('after', HELP)
  const wanted = COMMANDS[argv[0] ?? '']
  const modules = wanted
    ? [await wanted()]
    : await Promise.all([...Object.values(COMMANDS), LATER].map((load) => load()))
  for (const { register } of modules) register(program, cli)
  inherit(program)
  try {
    await program.parseAsync(argv, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) cli.fail(error)
    else cli.exitCode = error.exitCode === 0 ? 0 : EXIT_COPPICE_FAILED
  }
}

/** Subcommands do not take these settings over when they are made. */
function inherit(parent: Command): void {
  for (const command of parent.commands) {
    command.copyInheritedSettings(parent).exitOverride()
    inherit(command)
  }
}

const HELP = `
Examples:
  coppice run -- python3 -c 'print(6 * 7)'
  box=$(coppice create --name box)
  coppice exec box -- uname -a
  coppice cp ./src box:/src && coppice exec box -t --cwd /src -- bash
  coppice forward box 8080
  coppice rm box

Exit status: the command's own for exec and run, 128+n for signal n, 124 when --timeout ended it, 125 when Coppice
itself failed, 126 when the command cannot be run, 127 when there is none.`
