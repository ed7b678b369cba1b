import { readFile, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { type PackOptions, pack } from '../tar/pack.ts'
import { type Dockerfile, findDockerfile } from './dockerfile.ts'
import { IgnoreFile } from './ignore.ts'

export interface ContextOptions {
  /** The Dockerfile, or its path, absolute or relative to the folder. Default `Dockerfile`. */
  dockerfile?: string | Dockerfile | undefined
  /** Fed with what is packed, times apart. */
  fingerprint?: PackOptions['fingerprint']
}

/**
 * A folder as build context: a tar of what `.dockerignore` leaves of it. The Dockerfile and the ignore file are always in it, as an
 * engine needs them; a Dockerfile from elsewhere is its first file. One file is open at a time, and no more than a chunk of it in memory.
 *
 * @throws `not_found/dockerfile_not_found`, `invalid_argument/bad_ignore_pattern`, `conflict/file_changed`
 */
export async function* packContext(folder: string, options: ContextOptions = {}): AsyncGenerator<Buffer> {
  const { dockerfile: given, fingerprint } = options
  const dockerfile = typeof given === 'object' ? given : await findDockerfile(await realpath(folder), given)
  const { path: own, content } = dockerfile
  const { name, text } = await readIgnoreFile(folder, dockerfile)
  const ignore = new IgnoreFile(text)
  const needed = new Set([own, name])
  yield* pack(folder, {
    fingerprint,
    first: content && { name: own, content },
    select: (path, isFolder) => {
      // A file of that name in the folder can only be an older one of its kind.
      if (content && path === own) return 'leave'
      if (needed.has(path) || !ignore.ignores(path)) return 'take'
      if (!isFolder) return 'leave'
      const holdsNeeded = [...needed].some((file) => file.startsWith(`${path}/`))
      return holdsNeeded || ignore.mayTakeWithin(path) ? 'look' : 'leave'
    },
  })
}

/** An ignore file named after the Dockerfile takes the place of the common one. */
async function readIgnoreFile(folder: string, { ignore }: Dockerfile): Promise<{ name: string; text: string }> {
  const name = '.dockerignore'
  if (ignore && 'text' in ignore) return { name, text: ignore.text }
  if (ignore) return { name: ignore.path, text: await readFile(join(folder, ignore.path), 'utf8') }
  try {
    return { name, text: await readFile(join(folder, name), 'utf8') }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  return { name, text: '' }
}
