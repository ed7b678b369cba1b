import { randomBytes } from 'node:crypto'

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'

/** `length` characters of 5 bits of entropy each, in Crockford's base 32 (lower case: no i, l, o, u). */
function randomName(length: number): string {
  let name = ''
  for (const byte of randomBytes(length)) name += ALPHABET[byte & 31]
  return name
}

/** A new sandbox id, 70 bits of entropy: `sb-` and 14 characters. */
export function newSandboxId(): string {
  return `sb-${randomName(14)}`
}

/** A new checkpoint id, 70 bits of entropy: `cp-` and 14 characters. */
export function newCheckpointId(): string {
  return `cp-${randomName(14)}`
}

/** True for text that is the id of a checkpoint and of nothing else. */
export function isCheckpointId(text: string): boolean {
  return /^cp-[0-9a-hjkmnp-tv-z]{14}$/.test(text)
}

/** A new exec id, 80 bits of entropy: `ex-` and 16 characters. */
export function newExecId(): string {
  return `ex-${randomName(16)}`
}

/** A new upload id. */
export function newUploadId(): string {
  return `up-${randomName(16)}`
}

/** A new idempotency key, 130 bits of entropy. Starts with `auto-`: keys of that shape are forgotten with their exec's record. */
export function newKey(): string {
  return `${GENERATED_KEY_PREFIX}${randomName(26)}`
}

/** Keys with this prefix were generated, not chosen by a person or program. */
export const GENERATED_KEY_PREFIX = 'auto-'
