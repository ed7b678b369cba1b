import { createHash } from 'node:crypto'
import { CoppiceError } from '@coppice/protocol/wire'

const DIGEST = /^sha256:([0-9a-f]{64})$/

/** The 64 hex digits of a `sha256:…` digest. Throws `invalid_argument/invalid_digest`: nothing else becomes a file name. */
export function hexOf(digest: string): string {
  const hex = DIGEST.exec(digest)?.[1]
  if (!hex) throw new CoppiceError('invalid_argument', 'invalid_digest', `"${digest}" is not a sha256 digest.`)
  return hex
}

export function isDigest(text: string): boolean {
  return DIGEST.test(text)
}

/** `sha256:` and the hash of bytes that are in memory. */
export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
