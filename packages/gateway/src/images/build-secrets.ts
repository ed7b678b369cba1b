import type { BuildSecrets } from '@coppice/engines'
import {
  BUILD_SECRET_ID,
  buildSecretTooLarge,
  CoppiceError,
  MAX_BUILD_SECRET_BYTES,
  MAX_BUILD_SECRETS,
} from '@coppice/protocol'

/** A secret that was announced. */
interface SecretSize {
  id: string
  bytes: number
}

/**
 * Reads which secrets stand in front of a build's context. Only names and sizes are in an address; nobody logs a body.
 * @param announced `ID:BYTES`
 * @throws `invalid_argument/bad_build_secret`, `resource_exhausted/build_secret_too_large`
 */
export function parseSecretSizes(announced: string[]): SecretSize[] {
  if (announced.length > MAX_BUILD_SECRETS) throw badSecret(`A build has at most ${MAX_BUILD_SECRETS} secrets.`)
  const sizes = announced.map((text) => {
    const [, id = '', digits = ''] = /^(.*):(\d{1,9})$/s.exec(text) ?? []
    if (!BUILD_SECRET_ID.test(id)) throw badSecret(`${JSON.stringify(text.slice(0, 100))} is not ID:BYTES.`)
    const bytes = Number(digits)
    if (bytes <= MAX_BUILD_SECRET_BYTES) return { id, bytes }
    throw buildSecretTooLarge(id, bytes)
  })
  if (new Set(sizes.map(({ id }) => id)).size < sizes.length) throw badSecret('Two secrets have the same id.')
  return sizes
}

/**
 * Takes the secrets off the front of a body. They are in memory alone, and are gone with the build.
 * @throws `invalid_argument/bad_build_secret` for a body that ends before them, `cancelled/upload_cut` for one that is cut
 */
export async function takeSecrets(
  body: AsyncGenerator<Buffer, void, void>,
  sizes: SecretSize[],
): Promise<{ secrets: BuildSecrets; context: AsyncIterable<Buffer> }> {
  const secrets = new Map<string, Buffer>()
  let held: Buffer = Buffer.alloc(0)
  for (const { id, bytes } of sizes) {
    const parts = [held]
    for (let length = held.length; length < bytes; ) {
      const next = await body.next().catch((cause: unknown) => {
        throw new CoppiceError('cancelled', 'upload_cut', 'The secrets of the build did not arrive whole.', { cause })
      })
      if (next.done) throw badSecret('The body ends before its secrets do.')
      parts.push(next.value)
      length += next.value.length
    }
    const whole = Buffer.concat(parts)
    secrets.set(id, whole.subarray(0, bytes))
    held = whole.subarray(bytes)
  }
  async function* context(): AsyncGenerator<Buffer> {
    if (held.length > 0) yield held
    yield* body
  }
  return { secrets, context: sizes.length === 0 ? body : context() }
}

function badSecret(message: string): CoppiceError {
  return new CoppiceError('invalid_argument', 'bad_build_secret', message, { hint: 'GET /openapi.json' })
}
