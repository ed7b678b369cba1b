import { readFile, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join, posix, relative, resolve } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'

/** The Dockerfile of a build, and what stands beside it. */
export interface Dockerfile {
  /** In the context's tar. */
  path: string
  text: string
  bytes: Buffer
  /** It is not in the folder. */
  isElsewhere: boolean
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
 * @throws `not_found/dockerfile_not_found`, `invalid_argument/not_a_folder`
 */
export async function findDockerfile(folder: string, dockerfile = 'Dockerfile', text?: string): Promise<Dockerfile> {
  if (text !== undefined) return besides(Buffer.from(text))
  if ((await stat(folder).catch(() => undefined))?.isDirectory() === false) {
    throw new CoppiceError('invalid_argument', 'not_a_folder', `${folder} is a file, not a folder.`, {
      hint: `coppice image build --file ${folder} ${dirname(folder)}`,
    })
  }
  const given = resolve(folder, dockerfile)
  // The folder may have been named by a link to it, or by one on the way.
  const parent = await realpath(dirname(given)).catch(() => dirname(given))
  // A Dockerfile that is a link is what it leads to: in the tar the link may lead nowhere.
  const path = relative(folder, await realpath(given).catch(() => given))
  const content = await readFile(given).catch((cause: unknown) => {
    throw new CoppiceError('not_found', 'dockerfile_not_found', `There is no ${dockerfile} in ${folder}.`, {
      facts: { folder, dockerfile },
      hint: 'coppice image build --file PATH DIR',
      cause,
    })
  })
  const ownIgnore = await readIfThere(`${given}.dockerignore`)
  const named = relative(folder, join(parent, basename(given)))
  const ignoreHere = isWithin(path) && isWithin(named)
  return {
    ...(isWithin(path)
      ? { path: posix.normalize(path), text: content.toString('utf8'), bytes: content, isElsewhere: false }
      : besides(content)),
    ...(ownIgnore !== undefined && {
      ignore: ignoreHere ? { path: `${posix.normalize(named)}.dockerignore` } : { text: ownIgnore },
    }),
  }
}

/** Whether a path that is relative to a folder stays in it. */
function isWithin(path: string): boolean {
  return path !== '..' && !path.startsWith('../')
}

function besides(content: Buffer): Dockerfile {
  // Not imported: see `contentHash`.
  const hash = process.getBuiltinModule('node:crypto').createHash('sha256').update(content).digest('hex')
  const path = `.dockerfile.${hash.slice(0, NAME_DIGITS)}`
  return { path, text: content.toString('utf8'), bytes: content, isElsewhere: true }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
