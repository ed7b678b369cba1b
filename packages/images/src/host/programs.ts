import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'

/** Debian packages of the programs that are used. */
const PACKAGES: Record<string, string> = {
  chroot: 'coreutils',
  debootstrap: 'debootstrap',
  find: 'findutils',
  getfattr: 'attr',
  mknod: 'coreutils',
  nsenter: 'util-linux',
  setfattr: 'attr',
  setpriv: 'util-linux',
  sync: 'coreutils',
  tar: 'tar',
  unshare: 'util-linux',
}

/** Where programs are looked for: PATH, and the administrator's folders, which a service's PATH often lacks. */
export function programPath(): string {
  const folders = (process.env.PATH ?? '').split(':').filter((folder) => folder !== '')
  return [...new Set([...folders, '/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'])].join(':')
}

/**
 * Throws `failed_precondition/program_missing` for the first that is not installed. For programs that another program
 * starts, whose absence would otherwise be only an exit status.
 */
export async function requirePrograms(...programs: string[]): Promise<void> {
  for (const program of programs) {
    if (!(await isInstalled(program))) throw missingProgram(program)
  }
}

async function isInstalled(program: string): Promise<boolean> {
  for (const folder of programPath().split(':')) {
    try {
      await access(join(folder, program), constants.X_OK)
      return true
    } catch {}
  }
  return false
}

/** A program of the host that is needed and not there. */
export function missingProgram(program: string, cause?: unknown): CoppiceError {
  return new CoppiceError('failed_precondition', 'program_missing', `The program "${program}" is not installed.`, {
    cause,
    facts: { program },
    hint: `apt-get install ${PACKAGES[program] ?? program}`,
  })
}
