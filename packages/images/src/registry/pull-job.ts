import { CoppiceError, formatRegistryReference, type Progress } from '@coppice/protocol/wire'
import type { Job } from '../bulk/job.ts'
import { ByteProgress } from '../import/byte-progress.ts'
import { choosePlatform, type Platform, requirePlatform } from '../import/choose-image.ts'
import type { ImportOutcome } from '../import/import-job.ts'
import { checkBlob } from '../store/blob-id.ts'
import { MAX_JSON_BYTES } from '../store/blobs.ts'
import { digestOf } from '../store/digest.ts'
import { Intake, type StoreFolders } from '../store/intake.ts'
import {
  checkConfigSize,
  checkLayerTypes,
  type Descriptor,
  isIndex,
  isManifest,
  MANIFEST_ACCEPT,
  parseConfig,
  parseManifest,
} from '../store/schemas.ts'
import { RegistryClient } from './client.ts'
import { downloadBlob } from './download.ts'
import { isOwnFault } from './faults.ts'
import { inParallel } from './parallel.ts'
import type { RegistrySettings } from './settings.ts'

export interface PullArgs {
  folders: StoreFolders
  /** Mirrors in the order in which they are asked, the registry last. */
  settings: RegistrySettings[]
  platform: Platform
  /** The platform was asked for: another one is no answer. */
  strict: boolean
}

/** Brings in an image from a registry or, before it, from one of its mirrors: only the blobs that the store lacks. */
export const pullJob: Job<PullArgs, ImportOutcome> = async (args, { store, progress }) => {
  const intake = new Intake(args.folders, store, progress)
  const passedOver: PassedOver[] = []
  for (const [at, settings] of args.settings.entries()) {
    const client = new RegistryClient(settings)
    try {
      return await pull(client, args, intake, progress)
    } catch (error) {
      progress.throwIfEnded()
      const failure = CoppiceError.from(error)
      if (at === args.settings.length - 1) throw withMirrors(failure, passedOver)
      if (isOwnFault(failure)) throw failure
      passedOver.push({ mirror: client.host, reason: failure.reason, message: failure.message })
      progress.report(`The mirror ${client.host} is passed over: ${failure.message}`)
    } finally {
      client.close()
    }
  }
  throw new CoppiceError('internal', 'no_registry', 'There is no registry to ask.')
}

interface PassedOver {
  mirror: string
  reason: string
  message: string
}

/** Where only mirrors can be reached, theirs is the failure that people have to look at. */
function withMirrors(failure: CoppiceError, passedOver: PassedOver[]): CoppiceError {
  if (passedOver.length === 0) return failure
  const before = passedOver.map(({ message }) => message).join(' ')
  return new CoppiceError(failure.code, failure.reason, `${failure.message} Its mirrors before that: ${before}`, {
    retryable: failure.retryable,
    facts: { ...failure.facts, mirrors: passedOver },
    ...(failure.hint !== undefined && { hint: failure.hint }),
    cause: failure,
  })
}

async function pull(
  client: RegistryClient,
  args: PullArgs,
  intake: Intake,
  progress: Progress,
): Promise<ImportOutcome> {
  const { reference } = client.settings
  progress.report(`Asking ${client.host} for ${formatRegistryReference(reference)}`)
  const top = await fetchManifest(client, reference.digest ?? reference.tag ?? 'latest', undefined, progress)
  let found = top
  const chosen = await choosePlatform(
    async (digest) =>
      (digest === top.descriptor.digest ? top : await fetchManifest(client, digest, undefined, progress)).bytes,
    top.descriptor,
    args.platform,
  )
  if (chosen.digest !== top.descriptor.digest) found = await fetchManifest(client, chosen.digest, chosen, progress)
  const manifest = parseManifest(found.bytes, `The manifest ${chosen.digest}`)
  checkLayerTypes(manifest.layers)
  checkConfigSize(manifest)
  await intake.requireRoomFor([manifest.config, ...manifest.layers])
  await copyBlobs(client, [manifest.config, ...manifest.layers], intake, progress)
  const config = parseConfig(await intake.readSmall(manifest.config.digest), 'The image config')
  const platform = { architecture: config.architecture, os: config.os }
  if (args.strict) requirePlatform(config, args.platform)
  const id = await intake.writeSmall(found.bytes)
  const descriptor = { mediaType: chosen.mediaType, ...id, platform }
  return { descriptor, name: undefined, transferred: intake.transferred }
}

/** Equal blobs of one image are one; the small config is first, so that what cannot be read is found before gigabytes. */
async function copyBlobs(
  client: RegistryClient,
  blobs: Descriptor[],
  intake: Intake,
  progress: Progress,
): Promise<void> {
  const unique = [...new Map(blobs.map((blob) => [blob.digest, blob])).values()]
  const total = unique.reduce((sum, blob) => sum + blob.size, 0)
  const counter = new ByteProgress('Downloading layers', total, progress)
  await inParallel(unique, client.settings.parallel, progress, async (blob, narrowed) => {
    const made = await intake.ensure(blob, () => downloadBlob(client, blob, intake, counter, narrowed), narrowed)
    if (!made) counter.add(blob.size)
  })
}

interface FetchedManifest {
  descriptor: Descriptor
  bytes: Buffer
}

/** By digest it is checked against it; by tag its digest is that of what came. */
async function fetchManifest(
  client: RegistryClient,
  tagOrDigest: string,
  expected: Descriptor | undefined,
  progress: Progress,
): Promise<FetchedManifest> {
  const what = `the image ${client.settings.reference.repository}${tagOrDigest.includes(':') ? '@' : ':'}${tagOrDigest}`
  const { answer, body } = await client.fetch(
    `manifests/${tagOrDigest}`,
    {
      method: 'GET',
      follow: true,
      headers: { accept: MANIFEST_ACCEPT },
      scopes: [client.scope('pull')],
      expected: [200],
      what,
      limit: MAX_JSON_BYTES,
    },
    progress,
  )
  const id = { digest: digestOf(body), size: body.length }
  if (tagOrDigest.startsWith('sha256:')) checkBlob(id, { digest: tagOrDigest })
  if (expected) checkBlob(id, { size: expected.size })
  const mediaType = expected?.mediaType ?? mediaTypeOf(answer.headers['content-type'], body)
  const descriptor = { mediaType, ...id }
  if (!isManifest(descriptor) && !isIndex(descriptor)) {
    throw new CoppiceError('unsupported', 'not_an_image', `${what} is ${mediaType}, which is not read.`, {
      facts: { mediaType },
    })
  }
  return { descriptor, bytes: body }
}

/** What the manifest says of itself; older ones say nothing, and then what the registry says. */
function mediaTypeOf(header: string | undefined, body: Buffer): string {
  let said: unknown
  try {
    said = (JSON.parse(body.toString('utf8')) as { mediaType?: unknown } | null)?.mediaType
  } catch {
    // It is read once more, with an error that says where.
  }
  return typeof said === 'string' ? said : (header?.split(';')[0]?.trim().toLowerCase() ?? '')
}
