import { CoppiceError, formatRegistryReference } from '@coppice/protocol/wire'
import type { Job } from '../bulk/job.ts'
import { ByteProgress } from '../import/byte-progress.ts'
import { RegistryClient } from './client.ts'
import { badAnswer } from './connection.ts'
import { inParallel } from './parallel.ts'
import type { RegistrySettings } from './settings.ts'
import { type Upload, uploadBlob } from './upload.ts'

const MAX_ANSWER_BYTES = 64 * 1024

export interface PushArgs {
  settings: RegistrySettings
  /** Config and layers, each once. */
  blobs: Upload[]
  manifest: { digest: string; mediaType: string; text: string }
}

/** What a push did. */
export interface RegistryPush {
  /** In full, as the registry has it now: `ghcr.io/owner/app:1`. */
  reference: string
  digest: string
  /** Blobs that the repository had, that the registry had elsewhere, and that were sent; and the bytes of the last. */
  present: number
  mounted: number
  uploaded: number
  uploadedBytes: number
}

/** Sends an image to a registry: what it lacks, and the manifest last, so that the name never means half an image. */
export const pushJob: Job<PushArgs, RegistryPush> = async ({ settings, blobs, manifest }, { progress }) => {
  const { reference } = settings
  const client = new RegistryClient(settings)
  const counts = { present: 0, mounted: 0, uploaded: 0 }
  let uploadedBytes = 0
  try {
    const total = blobs.reduce((sum, blob) => sum + blob.size, 0)
    const counter = new ByteProgress('Uploading layers', total, progress)
    await inParallel(blobs, settings.parallel, progress, async (blob, narrowed) => {
      const how = await uploadBlob(client, blob, counter, narrowed)
      counts[how]++
      if (how === 'uploaded') uploadedBytes += blob.size
    })
    const body = Buffer.from(manifest.text)
    const { answer } = await client.fetch(
      `manifests/${reference.tag ?? manifest.digest}`,
      {
        method: 'PUT',
        headers: { 'content-type': manifest.mediaType },
        body: { length: body.length, chunks: [body] },
        scopes: [client.scope('pull,push')],
        expected: [200, 201, 202],
        what: `the manifest of ${formatRegistryReference(reference)}`,
        limit: MAX_ANSWER_BYTES,
      },
      progress,
    )
    const theirs = answer.headers['docker-content-digest']
    if (typeof theirs === 'string' && theirs.startsWith('sha256:') && theirs !== manifest.digest) {
      throw badAnswer(client.host, `another digest for the image: ${theirs.slice(0, 80)}`)
    }
    return { reference: formatRegistryReference(reference), digest: manifest.digest, ...counts, uploadedBytes }
  } finally {
    client.close()
  }
}

/** Throws `invalid_argument/digest_mismatch` when an image shall be pushed under another one's digest. */
export function checkPushDigest(wanted: string | undefined, digest: string): void {
  if (wanted === undefined || wanted === digest) return
  throw new CoppiceError('invalid_argument', 'digest_mismatch', `The image is ${digest}, not ${wanted}.`, {
    facts: { expected: wanted, actual: digest },
  })
}
