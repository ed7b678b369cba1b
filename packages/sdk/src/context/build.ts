import { realpath } from 'node:fs/promises'
import type { ImageInfo } from '@coppice/protocol/wire'
import { CoppiceError, checkImageName } from '@coppice/protocol/wire'
import { counted } from '../byte-count.ts'
import { throwIfAborted } from '../cancellation.ts'
import type { GatewayConnection } from '../connection.ts'
import { exchange } from '../exchange.ts'
import { type BroughtImage, type BuildWork, broughtImage } from '../image-events.ts'
import { localError } from '../local-upload.ts'
import { query } from '../paths.ts'
import { type ContextPlan, packContext, planContext } from './context.ts'
import { type Dockerfile, findDockerfile } from './dockerfile.ts'
import { registriesOf } from './registries.ts'
import { type BuildSecrets, type PackedSecrets, packSecrets } from './secrets.ts'

/** How an image is built. */
export interface BuildOptions extends BuildWork {
  /** What it is called from now on. Default: `build/` and a hash of the context and these options. */
  name?: string | undefined
  /**
   * Path of the Dockerfile, absolute or relative to the folder. Default `Dockerfile`. One that is not in the folder is sent beside it;
   * where BuildKit does not build, a `COPY . .` may copy it too, as `.dockerfile.…`.
   */
  dockerfile?: string | undefined
  /** The Dockerfile itself, in place of a file. */
  dockerfileText?: string | undefined
  /** The stage to build. Default: the last. */
  target?: string | undefined
  buildArgs?: Record<string, string> | undefined
  /**
   * What steps may read (`RUN --mount=type=secret,id=ID`), at most 500 KiB each. In no image, log or cache, and not in the hash either: an
   * image that was built with another secret counts as built.
   */
  secrets?: BuildSecrets | undefined
  /** Builds all of it anew: neither an image that is there nor a step that the builder remembers counts. */
  noCache?: boolean | undefined
}

/** An image that was built, or was there. */
export interface BuiltImage extends BroughtImage {
  /** The image of this content was there: nothing was sent or built. */
  cached: boolean
}

/** Digits of the hash in a name: 96 bits. */
const NAME_DIGITS = 24

/** See `Images.build`. */
export async function buildFolder(
  connection: GatewayConnection,
  images: { list(): Promise<ImageInfo[]> },
  folder: string,
  options: BuildOptions,
): Promise<BuiltImage> {
  if (options.name !== undefined) checkImageName(options.name)
  const secrets = packSecrets(options.secrets)
  const context = await openContext(folder, options)
  if (options.name !== undefined) return send(connection, context, options.name, undefined, secrets, options)
  const content = await fingerprint(context, options)
  const name = `build/${content.hash.slice(0, NAME_DIGITS)}`
  const there = options.noCache ? undefined : (await images.list()).find((image) => image.name === name)
  if (!there) return send(connection, context, name, content, secrets, options)
  options.onLog?.(`${name}: built before, cached by content`)
  return { ...there, facts: {}, cached: true }
}

interface Context {
  folder: string
  dockerfile: Dockerfile
  plan: ContextPlan
}

interface Content {
  hash: string
  /** Of the context as a tar. */
  bytes: number
}

async function openContext(folder: string, options: BuildOptions): Promise<Context> {
  // A link to a folder counts as it.
  const real = await realpath(folder).catch((error: NodeJS.ErrnoException) => {
    throw localError(error, folder)
  })
  const dockerfile = await findDockerfile(real, options.dockerfile, options.dockerfileText)
  return { folder: real, dockerfile, plan: await planContext(real, dockerfile) }
}

async function send(
  connection: GatewayConnection,
  context: Context,
  name: string,
  expected: Content | undefined,
  secrets: PackedSecrets,
  options: BuildOptions,
): Promise<BuiltImage> {
  const { folder, dockerfile, plan } = context
  const { target, noCache, buildArgs = {}, signal } = options
  const args = [
    ...Object.entries(buildArgs).map(([key, value]) => ['buildArg', `${key}=${value}`]),
    ...registriesOf(dockerfile.text, buildArgs).map((host) => ['registry', host]),
    ...secrets.sizes.map((size) => ['secret', size]),
  ].map(([key, value = '']) => `&${key}=${encodeURIComponent(value)}`)
  const hidden = plan.hidden.length || undefined
  const path = `/v1/images/build${query({ name, dockerfile: dockerfile.path, hidden, target, noCache })}${args.join('')}`
  const source = expected ? unchanged(context, expected, options) : localFaults(folder, packContext(folder, { plan }))
  const sent = counted(source, 'Sending the context', expected?.bytes, options.onProgress)
  const body = secrets.bytes.length === 0 ? sent : inFront(secrets.bytes, sent)
  const image = await exchange(connection, { method: 'POST', path, signal }, body, (response) =>
    broughtImage(response, options),
  )
  return { ...image, cached: false }
}

async function* inFront(bytes: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield bytes
  yield* rest
}

/** The hash of everything that decides what is built, times apart. */
async function fingerprint({ folder, dockerfile, plan }: Context, options: BuildOptions): Promise<Content> {
  const hash = contentHash(dockerfile.path, options)
  let bytes = 0
  const context = localFaults(folder, packContext(folder, { plan, fingerprint: hash }))
  for await (const chunk of counted(context, 'Reading the context', undefined, options.onProgress)) {
    throwIfAborted(options.signal)
    bytes += chunk.length
  }
  return { hash: hash.digest('hex'), bytes }
}

/** The context as it was when it was hashed. @throws `conflict/context_changed`: what was built would not be what its name says. */
async function* unchanged(
  { folder, dockerfile, plan }: Context,
  expected: Content,
  options: BuildOptions,
): AsyncGenerator<Buffer> {
  const hash = contentHash(dockerfile.path, options)
  yield* localFaults(folder, packContext(folder, { plan, fingerprint: hash }))
  if (hash.digest('hex') === expected.hash) return
  throw new CoppiceError('conflict', 'context_changed', `Something in ${folder} was changed while it was sent.`, {
    facts: { folder },
    hint: 'Build again, or give the image a name.',
    retryable: true,
  })
}

function contentHash(dockerfile: string, { target, buildArgs = {} }: BuildOptions) {
  const args = Object.entries(buildArgs).sort(([a], [b]) => (a < b ? -1 : 1))
  // Not imported: loading it costs a tenth of a start of the CLI, which hardly ever builds.
  const hash = process.getBuiltinModule('node:crypto').createHash('sha256')
  return hash.update(`${JSON.stringify(['build', 1, dockerfile, target ?? '', args])}\n`)
}

async function* localFaults(folder: string, source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* source
  } catch (error) {
    throw error instanceof CoppiceError ? error : localError(error as NodeJS.ErrnoException, folder)
  }
}
