import { closeSync, openSync, readSync, type Stats, statSync } from 'node:fs'
import { isAbsolute, join, resolve } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'
import type { Identity } from './identity.ts'

/** What containers of this field search when the image says nothing. */
export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/**
 * Finds the file of a program as `execvp` would: a name with a slash is a path from `cwd`, any other is looked for in `PATH`.
 * Throws `not_found/program_not_found`, or `failed_precondition/not_executable` when it is there but cannot be run.
 */
export function resolveProgram(name: string, cwd: string, path: string, identity: Identity): string {
  const candidates = name.includes('/')
    ? [isAbsolute(name) ? name : join(cwd, name)]
    : path.split(':').map((dir) => join(resolve(cwd, dir || '.'), name))
  let blocked: string | undefined
  for (const candidate of name === '' ? [] : candidates) {
    const stat = statQuietly(candidate)
    if (!stat) continue
    if (stat.isFile() && mayExecute(stat, identity)) {
      requireInterpreter(candidate)
      return candidate
    }
    blocked ??= candidate
  }
  if (blocked !== undefined) throw notExecutable(name, blocked, 'it is not an executable file for this user')
  throw new CoppiceError(
    'not_found',
    'program_not_found',
    `There is no program ${JSON.stringify(name)} in the sandbox.`,
    {
      facts: name.includes('/') ? { program: name } : { program: name, path },
      hint: 'Look with `coppice exec SANDBOX -- ls` at what the image has, or give the full path.',
    },
  )
}

/**
 * Makes sure that a working directory can be used. Throws `not_found/cwd_not_found`,
 * `failed_precondition/cwd_not_a_directory` and `permission_denied/cwd_not_permitted`.
 */
export function requireDirectory(cwd: string, identity: Identity): void {
  const facts = { cwd }
  const stat = statQuietly(cwd)
  if (!stat) {
    throw new CoppiceError(
      'not_found',
      'cwd_not_found',
      `The working directory ${JSON.stringify(cwd)} does not exist.`,
      { facts },
    )
  }
  if (!stat.isDirectory()) {
    throw new CoppiceError('failed_precondition', 'cwd_not_a_directory', `${JSON.stringify(cwd)} is not a directory.`, {
      facts,
    })
  }
  for (let dir = cwd; ; dir = join(dir, '..')) {
    const at = statQuietly(dir)
    if (at && !mayExecute(at, identity)) {
      throw new CoppiceError(
        'permission_denied',
        'cwd_not_permitted',
        `The user may not enter ${JSON.stringify(dir)}.`,
        { facts },
      )
    }
    if (dir === '/') return
  }
}

function mayExecute(stat: Stats, identity: Identity): boolean {
  if (identity.uid === 0) return stat.isDirectory() || (stat.mode & 0o111) !== 0
  if (stat.uid === identity.uid) return (stat.mode & 0o100) !== 0
  if (stat.gid === identity.gid || identity.groups.includes(stat.gid)) return (stat.mode & 0o010) !== 0
  return (stat.mode & 0o001) !== 0
}

/** A script whose `#!` names a program that is not there fails with the same ENOENT as a missing program: say which. */
function requireInterpreter(path: string): void {
  const interpreter = interpreterOf(path)
  if (interpreter === undefined || statQuietly(interpreter)) return
  throw notExecutable(path, path, `its interpreter ${interpreter} is not there`, { interpreter })
}

function interpreterOf(path: string): string | undefined {
  const head = Buffer.alloc(256)
  let bytes: number
  try {
    const fd = openSync(path, 'r')
    try {
      bytes = readSync(fd, head, 0, head.length, 0)
    } finally {
      closeSync(fd)
    }
  } catch {
    return undefined
  }
  const line = /^#![ \t]*(\/[^ \t\n]+)[ \t\n]/.exec(head.toString('latin1', 0, bytes))
  return line?.[1]
}

function notExecutable(program: string, path: string, why: string, facts: Record<string, string> = {}): CoppiceError {
  return new CoppiceError(
    'failed_precondition',
    'not_executable',
    `${JSON.stringify(program)} cannot be run: ${why}.`,
    {
      facts: { program, path, ...facts },
    },
  )
}

function statQuietly(path: string): Stats | undefined {
  try {
    return statSync(path)
  } catch {
    return undefined
  }
}
