import { readFile, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { type PackOptions, pack } from '../tar/pack.ts'
import { type Dockerfile, findDockerfile } from './dockerfile.ts'
import { IgnoreFile } from './ignore.ts'

export interface ContextOptions {
  /** What is packed, or the path of the Dockerfile, absolute or relative to the folder. Default `Dockerfile`. */
  plan?: string | ContextPlan | undefined
  /** Fed with what is packed, times apart. */
  fingerprint?: PackOptions['fingerprint']
}

/** What of a folder is a build's context. */
export interface ContextPlan {
  ignore: IgnoreFile
  /**
   * What the builder reads, and no step sees: the Dockerfile and the ignore file, where the patterns leave out one of them, and a Dockerfile
   * from elsewhere. One that a step sees all the same is also in its own place.
   */
  hidden: { name: string; content: Buffer }[]
  /** Names that stand in front alone. */
  leftOut: ReadonlySet<string>
}

/**
 * Reads a folder's ignore file: one that is named after the Dockerfile, else the common one.
 * @throws `invalid_argument/bad_ignore_pattern`
 */
export async function planContext(folder: string, dockerfile: Dockerfile): Promise<ContextPlan> {
  const { path, bytes, isElsewhere } = dockerfile
  const { name, content, text } = await readIgnoreFile(folder, dockerfile)
  const ignore = new IgnoreFile(text)
  const leftOut = new Set<string>()
  // A file of that name in the folder can only be an older one of its kind.
  if (isElsewhere || ignore.ignores(path)) leftOut.add(path)
  if (content && ignore.ignores(name)) leftOut.add(name)
  const hidden = leftOut.size === 0 ? [] : [{ name: path, content: bytes }]
  if (content && leftOut.has(name)) hidden.push({ name, content })
  return { ignore, hidden, leftOut }
}

/**
 * A folder as build context: a tar of what `.dockerignore` leaves of it. The Dockerfile and the ignore file are always in it, as an
 * engine needs them; where they are hidden, they are its first files. One file is open at a time, and no more than a chunk of it in memory.
 *
 * @throws `not_found/dockerfile_not_found`, `invalid_argument/bad_ignore_pattern`, `conflict/file_changed`
 */
export async function* packContext(folder: string, options: ContextOptions = {}): AsyncGenerator<Buffer> {
  const { plan, fingerprint } = options
  const { ignore, hidden, leftOut } =
    typeof plan === 'object' ? plan : await planContext(folder, await findDockerfile(await realpath(folder), plan))
  yield* pack(folder, {
    fingerprint,
    first: hidden,
    select: (path, isFolder) => {
      if (leftOut.has(path)) return 'leave'
      if (!ignore.ignores(path)) return 'take'
      return isFolder && ignore.mayTakeWithin(path) ? 'look' : 'leave'
    },
  })
}

/** An ignore file named after the Dockerfile takes the place of the common one. `content`: of the file, when it is in the folder. */
async function readIgnoreFile(
  folder: string,
  { ignore }: Dockerfile,
): Promise<{ name: string; text: string; content?: Buffer }> {
  const name = ignore && 'path' in ignore ? ignore.path : '.dockerignore'
  const content = await readFile(join(folder, name)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
  })
  const text = ignore && 'text' in ignore ? ignore.text : (content?.toString('utf8') ?? '')
  return { name, text, ...(content && { content }) }
}
