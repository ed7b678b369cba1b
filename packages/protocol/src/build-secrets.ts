import { CoppiceError } from './errors.ts'

/** Bytes of one secret of a build: BuildKit's own limit. */
export const MAX_BUILD_SECRET_BYTES = 500 * 1024

/** Secrets of one build. They are in memory while it goes on. */
export const MAX_BUILD_SECRETS = 32

/** What a secret of a build may be called: a file's name below `/run/secrets`. */
export const BUILD_SECRET_ID = /^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}$/

/**
 * The refusal of a secret that is larger than that.
 * @param name as people know it
 */
export function buildSecretTooLarge(id: string, bytes: number, name = id): CoppiceError {
  return new CoppiceError(
    'resource_exhausted',
    'build_secret_too_large',
    `The secret ${name} has ${bytes} bytes; ${MAX_BUILD_SECRET_BYTES} are the most.`,
    { facts: { id, bytes, maxBytes: MAX_BUILD_SECRET_BYTES } },
  )
}
