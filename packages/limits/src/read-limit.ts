import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { CoppiceError } from '@coppice/protocol/wire'
import { limitText, type OpenFileLimit } from './limit.ts'
import { parseLimit, parseProcLimits, parseUlimit } from './parse.ts'

const execute = promisify(execFile)

/** As every shell of POSIX has it; `-S` and `-H` are in all that are met as `/bin/sh` (dash, bash, busybox, zsh). */
const SHELL = '/bin/sh'

/**
 * The limits of this process, which its children inherit. From the kernel on Linux, from a shell elsewhere. Throws
 * `internal/open_file_limit_unknown`.
 */
export async function readOpenFileLimit(): Promise<OpenFileLimit> {
  // Not once for all: an administrator may raise it while the process runs.
  const text = await readFile('/proc/self/limits', 'utf8').catch(() => '')
  return parseProcLimits(text) ?? (await askShell())
}

async function askShell(): Promise<OpenFileLimit> {
  const { stdout } = await execute(SHELL, ['-c', 'ulimit -Sn; ulimit -Hn']).catch((error: unknown) => {
    throw unknown(String(error), error)
  })
  const limit = parseUlimit(stdout)
  if (!limit) throw unknown(`ulimit said "${stdout.slice(0, 100)}"`)
  return limit
}

function unknown(detail: string, cause?: unknown): CoppiceError {
  return new CoppiceError(
    'internal',
    'open_file_limit_unknown',
    `The limit of open files could not be read: ${detail}`,
    { cause, hint: 'ulimit -Sn; ulimit -Hn' },
  )
}

/** Program and arguments that raise the soft limit of a child, and of it alone, before it becomes `argv`. */
export function raised(to: number, argv: string[]): string[] {
  // When it cannot be raised the program runs all the same: what it gets was read back before.
  return [SHELL, '-c', 'ulimit -S -n "$1" 2>/dev/null; shift; exec "$@"', 'sh', limitText(to), ...argv]
}

/** The soft limit that a child really has after it was raised. */
export async function readBack(to: number): Promise<number> {
  const [program = '', ...args] = raised(to, [SHELL, '-c', 'ulimit -S -n'])
  const { stdout } = await execute(program, args)
  const actual = parseLimit(stdout)
  if (actual === undefined) throw unknown(`ulimit said "${stdout.slice(0, 100)}"`)
  return actual
}
