import { usageError } from '../parse.ts'

/** One side of `cp`. */
export type Place =
  | { kind: 'local'; path: string }
  | { kind: 'sandbox'; sandbox: string; path: string }
  /** A tar on standard input or output. */
  | { kind: 'stream' }

/**
 * `SANDBOX:PATH`, a local path, or `-`. What has a slash before its first colon, or starts with a dot, is local: `./a:b`.
 *
 * @throws `invalid_argument/usage` for a sandbox without a path
 */
export function parsePlaceOfCopy(text: string): Place {
  if (text === '') throw usageError('An empty path names nothing.')
  if (text === '-') return { kind: 'stream' }
  const match = /^([A-Za-z0-9][A-Za-z0-9._-]*):(.*)$/s.exec(text)
  if (!match) return { kind: 'local', path: text }
  const [, sandbox = '', path = ''] = match
  if (path === '') throw usageError(`${text} has no path.`, `Write it like ${sandbox}:/path`)
  return { kind: 'sandbox', sandbox, path: path.startsWith('/') ? path : `/${path}` }
}

/** The last name of a path; undefined when it stands for the content of a folder (`.`, `dir/.`, `/`). */
export function lastName(path: string): string | undefined {
  const name = path.replace(/\/+$/, '').split('/').at(-1)
  return name === '' || name === '.' || name === '..' ? undefined : name
}

/** Where a source named `source` goes when `target` is a folder that is there: into it, under its own name. */
export function inside(target: string, source: string): string {
  const name = lastName(source)
  return name === undefined ? target : `${target.replace(/\/+$/, '')}/${name}`
}
