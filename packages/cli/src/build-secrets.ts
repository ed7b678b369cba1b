import { readFileSync, statSync } from 'node:fs'
import { buildSecretTooLarge, MAX_BUILD_SECRET_BYTES } from '@coppice/protocol/wire'
import { CoppiceError } from '@coppice/sdk'
import { usageError } from './parse.ts'

/** Where a secret of a build is, on this side. */
export type SecretSource = { file: string } | { variable: string }

const HINT = 'Write it like id=npm,src=.npmrc or id=token,env=TOKEN.'

/** Collects repeated `--secret`, as `docker build` has it: `id=ID[,type=file|env][,src=FILE|,env=NAME]`. */
export function parseBuildSecret(text: string, sofar: Record<string, SecretSource> = {}): Record<string, SecretSource> {
  const fields: Record<string, string> = {}
  for (const field of text.split(',')) {
    const [key = '', value] = field.split(/=(.*)/s)
    const name = key
      .trim()
      .toLowerCase()
      .replace(/^source$/, 'src')
    // Not the field itself: somebody may have written the secret there.
    if (value === undefined || value === '' || !['id', 'type', 'src', 'env'].includes(name)) {
      throw usageError(`A field of --secret is not one of id=, src=, env=, type=.`, HINT)
    }
    fields[name] = value
  }
  const { id, type, src, env } = fields
  if (id === undefined) throw usageError('--secret needs an id.', HINT)
  if (type !== undefined && type !== 'file' && type !== 'env')
    throw usageError('A secret is of type file or env.', HINT)
  if (Object.hasOwn(sofar, id)) throw usageError(`There are two secrets ${id}.`)
  return { ...sofar, [id]: sourceOf(id, type === 'env' ? { env: env ?? src } : { src, env }) }
}

/** With neither, it is a variable of its own name, else a file of it. */
function sourceOf(id: string, { src, env }: { src?: string | undefined; env?: string | undefined }): SecretSource {
  if (env !== undefined) return { variable: env }
  if (src !== undefined) return { file: src }
  return process.env[id] === undefined ? { file: id } : { variable: id }
}

/** @throws `invalid_argument/usage` for a variable that is not set, `not_found/local_file_not_found` and their like for a file */
export function readBuildSecrets(sources: Record<string, SecretSource> = {}): Record<string, Uint8Array> {
  return Object.fromEntries(Object.entries(sources).map(([id, source]) => [id, read(id, source)]))
}

function read(id: string, source: SecretSource): Uint8Array {
  if ('variable' in source) {
    const value = process.env[source.variable]
    if (value !== undefined) return Buffer.from(value)
    throw usageError(`The variable ${source.variable} of the secret ${id} is not set here.`)
  }
  const { file } = source
  try {
    const { size } = statSync(file)
    if (size > MAX_BUILD_SECRET_BYTES) throw buildSecretTooLarge(id, size, `${id} (${file})`)
    return readFileSync(file)
  } catch (error) {
    if (error instanceof CoppiceError) throw error
    const { code } = error as NodeJS.ErrnoException
    const missing = code === 'ENOENT'
    throw new CoppiceError(
      missing ? 'not_found' : 'failed_precondition',
      missing ? 'local_file_not_found' : 'local_file_failed',
      `The file ${file} of the secret ${id} cannot be read: ${code}.`,
      { facts: { path: file, errno: code } },
    )
  }
}
