import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'

/**
 * Makes sure that runc can read what accounts there are. It opens these files before it starts anything, and would wait for ever for
 * somebody to write into a FIFO. Throws `failed_precondition/accounts_unreadable`.
 *
 * A symlink that leads to one is not followed: it is the sandbox's, and leads somewhere else from here.
 */
export function requireReadableAccounts(root: string): void {
  if (!lstatSync(join(root, 'etc'), { throwIfNoEntry: false })?.isDirectory()) return
  for (const path of ['/etc/passwd', '/etc/group']) {
    const found = lstatSync(join(root, path), { throwIfNoEntry: false })
    if (!found || found.isFile() || found.isSymbolicLink() || found.isDirectory()) continue
    throw new CoppiceError(
      'failed_precondition',
      'accounts_unreadable',
      `${path} of the sandbox is a FIFO or a device: nothing can be started in it.`,
      { facts: { path }, hint: `Make an image in which ${path} is a file, or is not there.` },
    )
  }
}
