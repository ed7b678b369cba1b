import { randomBytes } from 'node:crypto'
import { closeSync, constants, openSync, type Stats, writeSync } from 'node:fs'
import { CoppiceError } from '@coppice/protocol'
import { readHomeFile } from '@coppice/protocol/home-file'

/**
 * The token that clients of this home present, made on first use. 256 bits, mode 0600.
 * @throws `failed_precondition/token_exposed` when others can read the file, `failed_precondition/token_unusable`, and what
 * `readHomeFile` throws.
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
  const inspect = ({ mode }: Stats) => {
    if ((mode & 0o077) === 0) return
    throw new CoppiceError('failed_precondition', 'token_exposed', `${path} can be read by other users.`, {
      facts: { path },
      hint: `chmod 600 ${path}`,
    })
  }
  const token = readHomeFile(path, { noFollow: true, inspect })?.trim() ?? ''
  if (token.length >= 32) return token
  throw new CoppiceError('failed_precondition', 'token_unusable', `${path} holds no usable token.`, {
    facts: { path },
    hint: `rm ${path} && coppice gateway start`,
  })
}
