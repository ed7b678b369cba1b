import { chown, lchown, mkdir } from 'node:fs/promises'
import { resolveIdentity } from '../launch/identity.ts'
import { joinPath, pathNames } from './path.ts'

/** Whom new files belong to. */
export interface Owner {
  readonly uid: number
  readonly gid: number
}

/**
 * New files and folders belong to the user that the request names, else to the sandbox's default user, so that the programs
 * which run there can change them. Undefined: the supervisor is not root, everything is its own.
 */
export function ownerFor(user: string | undefined, defaultUser: string): Owner | undefined {
  const { uid, gid } = resolveIdentity(user ?? defaultUser)
  return process.getuid?.() === 0 ? { uid, gid } : undefined
}

export async function give(path: Buffer, owner: Owner | undefined): Promise<void> {
  if (owner) await chown(path, owner.uid, owner.gid)
}

/** The same for a path whose last part may be a symlink. */
export async function giveLink(path: Buffer, owner: Owner | undefined): Promise<void> {
  if (owner) await lchown(path, owner.uid, owner.gid)
}

/** Makes a folder and those above it that are missing; new ones belong to `owner`. Existing ones stay as they are. */
export async function makeFolders(path: Buffer, mode: number, owner: Owner | undefined): Promise<void> {
  let at: Buffer = Buffer.from('/')
  for (const name of pathNames(path)) {
    at = joinPath(at, name)
    try {
      await mkdir(at, mode)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue
      throw error
    }
    await give(at, owner)
  }
}
