import { basename } from 'node:path'
import { CoppiceError, type ImageInfo, REMEMBERED_ARCHIVE_BYTES } from '@coppice/protocol/wire'
import type { GatewayConnection } from '../connection.ts'
import type { BroughtImage } from '../image-events.ts'
import type { ImportOptions } from '../images.ts'
import { digestOf, tailOf } from './archive-digest.ts'

interface Answer {
  known: boolean
  image?: ImageInfo
}

/**
 * The image that came from a file of exactly these bytes before, so that they need not be sent. Asked first is by size and end, which
 * costs one read; all of the file is hashed only when the gateway knows such an archive. Undefined: it has to be sent.
 */
export async function knownArchive(
  connection: GatewayConnection,
  path: string,
  size: number,
  options: ImportOptions,
): Promise<BroughtImage | undefined> {
  if (size < REMEMBERED_ARCHIVE_BYTES) return undefined
  const tail = await tailOf(path, size)
  if (tail === undefined) return undefined
  const { name, fallbackName, format, ref, platform, signal, onProgress } = options
  const ask = async (digest?: string): Promise<Answer> => {
    const json = { size, tail, digest, name, fallbackName, format, ref, platform }
    const request = { method: 'POST' as const, path: '/v1/images/import/known', json, signal }
    try {
      return await connection.json<Answer>(request, true)
    } catch (error) {
      // A gateway that is older than the question.
      if (CoppiceError.from(error).reason === 'no_route') return { known: false }
      throw error
    }
  }
  if (!(await ask()).known) return undefined
  const digest = await digestOf(path, size, { onProgress, signal })
  const { image } = digest === undefined ? {} : await ask(digest)
  if (!image) return undefined
  onProgress?.({ message: `${basename(path)} is in the store: it was imported before` })
  return { ...image, facts: { bytes: 0, blobs: 0, known: true } }
}
