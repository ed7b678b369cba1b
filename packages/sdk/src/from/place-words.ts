import { basename, dirname } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'

const DOCKERFILE = /(^|\.)(dockerfile|containerfile)$|^(dockerfile|containerfile)\./i

/** What the gateway, which does not know what an archive is called here, says of it, in words of this side. */
export function inOwnWords(error: unknown, path: string, isFolder: boolean): unknown {
  if (!(error instanceof CoppiceError)) return error
  const { code, reason, message, facts, retryable, hint } = error
  if (reason === 'not_an_archive' && DOCKERFILE.test(basename(path))) return notBuilt(error, path)
  if (!hint?.includes('FILE')) return error
  const own = isFolder ? hint.replace('oci-archive:FILE', () => `oci:${path}`) : hint
  const options = { facts, retryable, hint: own.replaceAll('FILE', () => path), cause: error }
  return new CoppiceError(code, reason, message, options)
}

function notBuilt(cause: CoppiceError, path: string): CoppiceError {
  const folder = dirname(path)
  const file = basename(path) === 'Dockerfile' ? '' : ` --file ${path}`
  const message = `${path} is no archive. A Dockerfile is built from the folder that it is in: ${folder}.`
  const options = { facts: { path, folder }, hint: `coppice image build ${folder}${file}`, cause }
  return new CoppiceError('invalid_argument', 'not_an_archive', message, options)
}
