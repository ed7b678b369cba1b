import type { BuildContext, BuildSecrets, Engine, RegistryLogin } from '@coppice/engines'
import { findCredentials } from '@coppice/images'
import { CoppiceError, type Progress } from '@coppice/protocol'
import type { BuildTags } from './build-tags.ts'

/** Docker's own registry, as the engine calls it and as references do. */
const HUB = { called: 'registry-1.docker.io', named: 'docker.io' } as const

export interface BuildRequest {
  /** Path of the Dockerfile in the context. */
  dockerfile?: string
  target?: string
  noCache: boolean
  buildArgs: Record<string, string>
  /** Hosts that base images come from, for builders that do not ask who asks there. */
  registries?: string[]
  secrets?: BuildSecrets
}

/**
 * Builds with an engine's own builder, the context streamed to it as it comes, and hands the result over as a `docker save` archive. The
 * engine keeps its cache and no image; a build that fails or is cancelled leaves nothing.
 *
 * @param onLine told every line that the builder says
 * @throws `failed_precondition/build_failed` with the step, its last lines and its status; `failed_precondition/build_empty`
 */
export async function buildWith<T>(
  engine: Engine,
  tags: BuildTags,
  context: BuildContext,
  request: BuildRequest,
  onLine: (line: string) => void,
  take: (archive: AsyncIterable<Uint8Array>) => Promise<T>,
  progress: Progress,
): Promise<T> {
  const { tag, release } = tags.take(engine)
  // The switch that Docker's own command line has.
  const classic = process.env.DOCKER_BUILDKIT === '0'
  try {
    const options = { tag, classic, findLogin, ...request }
    for await (const line of engine.builds.build(context, options, progress)) onLine(line)
    return await take(engine.images.save([tag], progress))
  } catch (cause) {
    const failure = CoppiceError.from(cause)
    throw failure.reason === 'engine_refused' && /^empty export/.test(String(failure.facts.detail))
      ? buildEmpty(failure)
      : failure
  } finally {
    await release()
  }
}

/** Docker hands out no image without a layer. */
function buildEmpty(cause: CoppiceError): CoppiceError {
  return new CoppiceError(
    'failed_precondition',
    'build_empty',
    'What was built holds no files: it starts from scratch, and no step puts anything into it.',
    { hint: 'COPY what is to run into it, or build it FROM an image.', cause },
  )
}

/** Who asks registries for base images: whoever asks for this gateway's pulls. */
async function findLogin(host: string, signal: AbortSignal): Promise<RegistryLogin | undefined> {
  const found = await findCredentials({ host: host === HUB.called ? HUB.named : host }, undefined, signal)
  if (!found) return undefined
  return 'identityToken' in found
    ? { username: '', secret: found.identityToken }
    : { username: found.username, secret: found.password }
}
