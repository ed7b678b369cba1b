import { readFile, realpath } from 'node:fs/promises'
import { basename, dirname, join, posix, relative, resolve } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'

/** The Dockerfile of a build, and what stands beside it. */
export interface Dockerfile {
  /** In the context's tar. */
  path: string
  /** What is put there, for one that is not in the folder. */
  content?: Buffer
  /** An ignore file of its own, which takes the place of the common one: its path in the folder, or its text. */
  ignore?: { path: string } | { text: string }
}

/** Digits of the hash in the name of one that is not in the folder. */
const NAME_DIGITS = 20

/**
 * Finds the Dockerfile of a folder (an absolute path without links). One from elsewhere, or one that is given as text, is in the tar
 * under a name that its content gives it.
 *
 * @param dockerfile its path, absolute or relative to the folder. Default `Dockerfile`
 * @param text the Dockerfile itself
 * @throws `not_found/dockerfile_not_found`
 */
export async function findDockerfile(folder: string, dockerfile = 'Dockerfile', text?: string): Promise<Dockerfile> {
  if (text !== undefined) return besides(Buffer.from(text))
  const given = resolve(folder, dockerfile)
  // The folder may have been named by a link to it, or by one on the way.
  const parent = await realpath(dirname(given)).catch(() => dirname(given))
  const path = relative(folder, join(parent, basename(given)))
  const content = await readFile(given).catch((cause: unknown) => {
    throw new CoppiceError('not_found', 'dockerfile_not_found', `There is no ${dockerfile} in ${folder}.`, {
      facts: { folder, dockerfile },
      hint: 'coppice image build --file PATH DIR',
      cause,
    })
  })
  const ownIgnore = await readIfThere(`${given}.dockerignore`)
  if (path === '..' || path.startsWith('../')) {
    return { ...besides(content), ...(ownIgnore !== undefined && { ignore: { text: ownIgnore } }) }
  }
  const inside = posix.normalize(path)
  return { path: inside, ...(ownIgnore !== undefined && { ignore: { path: `${inside}.dockerignore` } }) }
}

function besides(content: Buffer): Dockerfile {
  // Not imported: see `contentHash`.
  const hash = process.getBuiltinModule('node:crypto').createHash('sha256').update(content).digest('hex')
  return { path: `.dockerfile.${hash.slice(0, NAME_DIGITS)}`, content }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
