import { randomBytes } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readFileSync, writeSync } from 'node:fs'
import { CoppiceError } from '@coppice/protocol'

/**
 * The token that clients of this home present, made on first use. 256 bits, mode 0600.
 * @throws `failed_precondition/token_exposed` when others can read the file.
 */
export function readOrMakeToken(path: string): string {
  try {
    const fd = openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600)
    const token = randomBytes(32).toString('base64url')
    writeSync(fd, `${token}\n`)
    closeSync(fd)
    return token
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    if ((fstatSync(fd).mode & 0o077) !== 0) {
      throw new CoppiceError('failed_precondition', 'token_exposed', `${path} can be read by other users.`, {
        facts: { path },
        hint: `chmod 600 ${path}`,
      })
    }
    const token = readFileSync(fd, 'utf8').trim()
    if (token.length >= 32) return token
    throw new CoppiceError('failed_precondition', 'token_unusable', `${path} holds no usable token.`, {
      facts: { path },
      hint: `rm ${path} && coppice gateway start`,
    })
  } finally {
    closeSync(fd)
  }
}
