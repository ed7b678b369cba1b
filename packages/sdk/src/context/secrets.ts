import {
  BUILD_SECRET_ID,
  buildSecretTooLarge,
  CoppiceError,
  MAX_BUILD_SECRET_BYTES,
  MAX_BUILD_SECRETS,
} from '@coppice/protocol/wire'

/** What the steps of a build may read below `/run/secrets`, by id. Texts are UTF-8. */
export type BuildSecrets = Record<string, Uint8Array | string>

/** Secrets as a build is sent them: their ids and sizes, and their bytes in front of the context. */
export interface PackedSecrets {
  /** `ID:BYTES` each. */
  sizes: string[]
  bytes: Buffer
}

/** @throws `invalid_argument/bad_build_secret`, `resource_exhausted/build_secret_too_large` */
export function packSecrets(secrets: BuildSecrets = {}): PackedSecrets {
  const packed = Object.entries(secrets).map(([id, value]) => ({ id, bytes: Buffer.from(value as Uint8Array) }))
  if (packed.length > MAX_BUILD_SECRETS) throw badSecret(`A build has at most ${MAX_BUILD_SECRETS} secrets.`)
  for (const { id, bytes } of packed) {
    if (!BUILD_SECRET_ID.test(id)) {
      throw badSecret(`${JSON.stringify(id.slice(0, 200))} is no id of a secret: letters, digits and . _ @ -`)
    }
    if (bytes.length > MAX_BUILD_SECRET_BYTES) throw buildSecretTooLarge(id, bytes.length)
  }
  return {
    sizes: packed.map(({ id, bytes }) => `${id}:${bytes.length}`),
    bytes: Buffer.concat(packed.map(({ bytes }) => bytes)),
  }
}

function badSecret(message: string): CoppiceError {
  return new CoppiceError('invalid_argument', 'bad_build_secret', message)
}
