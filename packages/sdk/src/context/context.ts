import { readFile } from 'node:fs/promises'
import { join, posix, relative, resolve } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'
import { type PackOptions, pack } from '../tar/pack.ts'
import { IgnoreFile } from './ignore.ts'

export interface ContextOptions {
  /** Path of the Dockerfile, relative to the folder. Default `Dockerfile`. */
  dockerfile?: string | undefined
  /** Fed with what is packed, times apart. */
  fingerprint?: PackOptions['fingerprint']
}

/**
 * A folder as build context: a tar of what `.dockerignore` leaves of it. The Dockerfile and the ignore file are always in it, as an
 * engine needs them. One file is open at a time, and no more than a chunk of it in memory.
 *
 * @throws `not_found/dockerfile_not_found`, `invalid_argument/bad_ignore_pattern`, `conflict/file_changed`
 */
export async function* packContext(folder: string, options: ContextOptions = {}): AsyncGenerator<Buffer> {
  const dockerfile = dockerfileIn(folder, options.dockerfile)
  await readFile(join(folder, dockerfile)).catch((cause: unknown) => {
    throw new CoppiceError('not_found', 'dockerfile_not_found', `There is no ${dockerfile} in ${folder}.`, {
      facts: { folder, dockerfile },
      hint: 'coppice image build --file PATH DIR',
      cause,
    })
  })
  const { name, text } = await readIgnoreFile(folder, dockerfile)
  const ignore = new IgnoreFile(text)
  const needed = new Set([dockerfile, name])
  yield* pack(folder, {
    fingerprint: options.fingerprint,
    select: (path, isFolder) => {
      if (needed.has(path) || !ignore.ignores(path)) return 'take'
      if (!isFolder) return 'leave'
      const holdsNeeded = [...needed].some((file) => file.startsWith(`${path}/`))
      return holdsNeeded || ignore.mayTakeWithin(path) ? 'look' : 'leave'
    },
  })
}

/**
 * The path of a Dockerfile in its context, as the context's tar names it.
 *
 * @throws `invalid_argument/dockerfile_outside`: what is not in the context cannot be sent with it
 */
export function dockerfileIn(folder: string, dockerfile = 'Dockerfile'): string {
  const path = relative(resolve(folder), resolve(folder, dockerfile))
  if (path !== '' && path !== '..' && !path.startsWith('../')) return posix.normalize(path)
  throw new CoppiceError('invalid_argument', 'dockerfile_outside', `${dockerfile} is not a file in ${folder}.`, {
    facts: { folder, dockerfile },
    hint: 'The path of a Dockerfile is relative to the folder that is built.',
  })
}

/** An ignore file named after the Dockerfile takes the place of the common one. */
async function readIgnoreFile(folder: string, dockerfile: string): Promise<{ name: string; text: string }> {
  for (const name of [`${dockerfile}.dockerignore`, '.dockerignore']) {
    try {
      return { name, text: await readFile(join(folder, name), 'utf8') }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  return { name: '.dockerignore', text: '' }
}
