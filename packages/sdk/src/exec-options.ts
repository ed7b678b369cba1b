import { CoppiceError, type ExecSpec, newExecId, newKey } from '@coppice/protocol/wire'

/** A program with its arguments, or a command line for `/bin/sh -c`. */
export type Command = readonly string[] | string

export interface SpawnOptions {
  /** Working directory. Default: the image's, else `/`. */
  cwd?: string | undefined
  /** User name or uid, optionally `:group`. Default: the image's, else root. */
  user?: string | undefined
  /** Added to the image's environment. */
  env?: Record<string, string> | undefined
  /** After this the whole process tree is ended and `timedOut` is true. Milliseconds. */
  timeoutMs?: number | undefined
  /** Between TERM and KILL, milliseconds. Default 2,000. */
  graceMs?: number | undefined
  /** Idempotency key: the same key never runs twice in one sandbox. Generated when absent. */
  key?: string | undefined
  /** `stream`: `exec.stdin` can be written. Default `none`: the program reads end-of-file. */
  stdin?: 'none' | 'stream' | undefined
  /** Run on a terminal: output is one stream, stdin is a stream. */
  pty?: ExecSpec['pty']
  /** `block`: the program waits for this reader. Default `spill`: it never waits, and a reader that is far behind may see gaps. */
  journal?: 'spill' | 'block' | undefined
  /** End the exec when this client goes away. Default false: it goes on and can be attached to. */
  tied?: boolean | undefined
  /** Milliseconds that following goes on without success before it fails. Default: the client's, 30 s. */
  boundMs?: number | undefined
  /** Stops following. The exec goes on; `Sandbox.exec` ends it. */
  signal?: AbortSignal | undefined
}

/** What goes over the wire, with an id and a key, so that asking twice starts once. */
export type IdentifiedSpec = ExecSpec & { id: string; key: string }

/** @throws `invalid_argument/empty_command`. The gateway checks everything else. */
export function execSpec(command: Command, options: SpawnOptions): IdentifiedSpec {
  if (command.length === 0) throw new CoppiceError('invalid_argument', 'empty_command', 'There is no command to run.')
  const { cwd, user, env, timeoutMs, graceMs, stdin, pty, journal, tied } = options
  const given = Object.entries({ cwd, user, env, timeoutMs, graceMs, stdin, pty, journal, tied })
  return {
    id: newExecId(),
    key: options.key ?? newKey(),
    ...(typeof command === 'string' ? { shell: command } : { argv: [...command] }),
    ...Object.fromEntries(given.filter(([, value]) => value !== undefined)),
  }
}
