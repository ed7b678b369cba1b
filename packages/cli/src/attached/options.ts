import type { SpawnOptions } from '@coppice/sdk'
import type { Command } from 'commander'
import { parseDuration, parseEnv } from '../parse.ts'

/** What `exec` and `run` say about how a command is run. */
export interface RunOptions {
  terminal: boolean
  interactive: boolean
  spawn: Pick<SpawnOptions, 'cwd' | 'user' | 'env' | 'timeoutMs' | 'key'>
}

/** The options of `exec` and `run` as commander gives them. */
export interface RunFlags {
  tty?: boolean
  interactive?: boolean
  cwd?: string
  user?: string
  env?: Record<string, string>
  timeout?: number
  key?: string
}

/** Options that `exec` and `run` share; `env` is left to the caller. */
export function addRunOptions(command: Command): Command {
  return command
    .option('-t, --tty', 'run on a terminal, and be it')
    .option('-i, --interactive', 'pass standard input on')
    .option('--cwd <dir>', "working directory (default: the image's)")
    .option('--user <user>', "user name or uid, optionally :group (default: the image's)")
    .option('--timeout <time>', 'end the whole process tree after this, exit status 124', parseDuration)
}

/** `--env` as both take it. */
export function addEnvOption(command: Command): Command {
  return command.option(
    '--env <name=value>',
    'set a variable; NAME alone passes its value here on (repeatable)',
    parseEnv,
  )
}

export function runOptions(flags: RunFlags): RunOptions {
  const { tty = false, interactive = false, cwd, user, env, timeout, key } = flags
  return { terminal: tty, interactive, spawn: { cwd, user, env, timeoutMs: timeout, key } }
}
