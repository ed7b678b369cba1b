import { CoppiceError } from '@coppice/protocol/wire'

/** File descriptor on which a launcher keeps the program's standard input while its own is the script. */
export const STDIN_FD = 3

/** File descriptor by which a launcher has a FIFO open for as long as it opens it for good. */
const HELD_FD = 4

/**
 * Shell words that open a FIFO for reading on `fd`, and do not wait for a writer: a supervisor that is killed meanwhile would leave
 * its launcher waiting for ever.
 */
export function openForReading(fd: number, path: string): string {
  return `${HELD_FD}<>${quote(path)} ${fd}<${quote(path)} ${HELD_FD}>&-`
}

/** The kernel's limit for arguments and environment together with the usual 8 MiB stack, less what it keeps for itself. */
const MAX_START_BYTES = 2 * 1024 * 1024 - 16 * 1024

/** What a launcher becomes. */
export interface Program {
  /** Absolute path, or relative to `cwd`. */
  readonly path: string
  readonly argv: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  /** False: standard input is `/dev/null`. */
  readonly stdin: boolean
}

/** A word that the shell reads as exactly these bytes. NUL is the one byte that cannot be said. */
export function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}

/**
 * The script that turns a launcher's shell into the program: same process, nothing of the launcher's environment left.
 * Throws `invalid_argument/arguments_too_long` where the kernel would refuse.
 *
 * Names that the shell cannot export (`a.b`, `X%%`) go through busybox `env`; the program then sees its path as argv[0].
 */
export function startScript(program: Program, busybox: string): string {
  refuseTooLong(program)
  const stdin = program.stdin ? `<&${STDIN_FD}` : '</dev/null'
  const args = program.argv.slice(1).map((arg) => ` ${quote(arg)}`)
  const path = quote(program.path)
  const entries = Object.entries(program.env)
  // Redirected by an `exec` of its own: with the program's, the shell would keep copies that the program inherits.
  const lines = [`cd ${quote(program.cwd)} || exit 126`, `exec ${stdin} ${STDIN_FD}<&-`]
  if (entries.every(([name]) => isExportable(name))) {
    lines.push('unset PWD OLDPWD SHLVL TERM PATH')
    if (entries.length > 0) lines.push(`export${entries.map(([name, value]) => ` ${name}=${quote(value)}`).join('')}`)
    lines.push(`exec -a ${quote(program.argv[0] ?? program.path)} ${path}${args.join('')}`)
  } else {
    const words = entries.map(([name, value]) => ` ${quote(`${name}=${value}`)}`)
    lines.push(`exec ${quote(busybox)} env -i${words.join('')} ${path}${args.join('')}`)
  }
  // One compound command: of a script that a dying supervisor has cut off anywhere, nothing is run.
  return `{\n${lines.join('\n')}\n}\n`
}

/** Variables that the shell itself gives a meaning or a new value, and so cannot pass on as they are. */
const SHELL_VARIABLES = new Set(['OPTIND', 'LINENO', 'RANDOM', 'PPID', 'IFS', 'PS1', 'PS2', 'PS4', 'MAIL', 'MAILPATH'])

function isExportable(name: string): boolean {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !SHELL_VARIABLES.has(name) && !name.startsWith('EPOCH')
}

function refuseTooLong(program: Program): void {
  let bytes = 0
  for (const arg of program.argv) bytes += Buffer.byteLength(arg) + 9
  for (const [name, value] of Object.entries(program.env))
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value) + 10
  if (bytes <= MAX_START_BYTES) return
  throw new CoppiceError(
    'invalid_argument',
    'arguments_too_long',
    `Arguments and environment together are ${bytes} bytes; the kernel takes ${MAX_START_BYTES}.`,
    { facts: { bytes, limit: MAX_START_BYTES }, hint: 'Pass large data by stdin or as a file.' },
  )
}
