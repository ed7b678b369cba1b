import { lstatSync, readlinkSync, type Stats } from 'node:fs'
import { join } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'

/** Symlinks that Linux follows in one path. */
const MAX_LINKS = 40

/** What is mounted there when these files are opened is not what the root has there, and may make a reader wait too. */
const MOUNTED = /^(dev|proc|sys|\.coppice.*)$/

/**
 * Makes sure that runc can read what accounts there are. It opens these files before it starts anything, and would wait for ever for
 * somebody to write into a FIFO. Throws `failed_precondition/accounts_unreadable`.
 *
 * Symlinks are followed as they are inside, never out of the root. Nothing is opened.
 */
export function requireReadableAccounts(root: string): void {
  for (const path of ['/etc/passwd', '/etc/group']) {
    if (!mayWait(root, path)) continue
    throw new CoppiceError(
      'failed_precondition',
      'accounts_unreadable',
      `${path} of the sandbox is a FIFO or a device, or leads to one: nothing can be started in it.`,
      { facts: { path }, hint: `Make an image in which ${path} is a file, or is not there.` },
    )
  }
}

/** Whether somebody inside who opens this path might wait. What cannot be opened at all keeps nobody waiting. */
function mayWait(root: string, path: string): boolean {
  /** Names of folders, none of them a symlink. */
  const at: string[] = []
  const left = names(path)
  for (let links = 0; ; ) {
    const name = left.shift()
    if (name === undefined) return false
    if (name === '..') {
      at.pop()
      continue
    }
    if (at.length === 0 && MOUNTED.test(name)) return [name, ...left].join('/') !== 'dev/null'
    const here = join(root, ...at, name)
    const found = examined(here)
    if (found === 'too deep') return true
    if (!found) return false
    if (found.isDirectory()) at.push(name)
    else if (found.isSymbolicLink()) {
      if (++links > MAX_LINKS) return false
      const target = readlinkSync(here)
      if (target.startsWith('/')) at.length = 0
      left.unshift(...names(target))
    } else return left.length === 0 && !found.isFile()
  }
}

function names(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.')
}

/** Undefined for what is not there. Somebody inside gets further into deep folders than a path of the host does. */
function examined(path: string): Stats | 'too deep' | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENAMETOOLONG') return 'too deep'
    throw cause
  }
}
