import { renameSync } from 'node:fs'
import type { Progress } from '@coppice/protocol/wire'
import type { ByteProgress } from '../import/byte-progress.ts'
import { BlobDraft } from '../store/blob-draft.ts'
import { type BlobId, sizeMismatch } from '../store/blob-id.ts'
import type { Intake } from '../store/intake.ts'
import type { RegistryClient } from './client.ts'
import { badAnswer, bodyOf } from './connection.ts'
import { retrying } from './retry.ts'

/**
 * Downloads a blob to a scratch file, whole, checked and synced. It goes on where an earlier attempt was cut, of this
 * process or of one that was killed. Throws `invalid_argument/digest_mismatch`, `size_mismatch`, and what `retrying` does.
 */
export async function downloadBlob(
  client: RegistryClient,
  id: BlobId,
  intake: Intake,
  counter: ByteProgress,
  progress: Progress,
): Promise<string> {
  const draft = await BlobDraft.resume(intake.partials.path(id.digest), id.size, progress)
  // Bytes of an earlier process may have been lost with the power: only those of this one are beyond doubt.
  const inherited = draft.size > 0
  try {
    counter.add(draft.size)
    await fill(client, draft, id, intake, counter, progress)
    if (inherited && draft.digest !== id.digest) {
      counter.add(-draft.size)
      draft.restart()
      await fill(client, draft, id, intake, counter, progress)
    }
  } catch (error) {
    await draft.close()
    throw error
  }
  try {
    await draft.finish(id)
    const path = intake.newPath()
    renameSync(draft.path, path)
    return path
  } catch (error) {
    await draft.remove()
    throw error
  }
}

async function fill(
  client: RegistryClient,
  draft: BlobDraft,
  id: BlobId,
  intake: Intake,
  counter: ByteProgress,
  progress: Progress,
): Promise<void> {
  const attempt = async () => {
    if (draft.size === id.size) return
    const from = draft.size
    const answer = await client.request(
      await client.url(`blobs/${id.digest}`, progress),
      {
        method: 'GET',
        follow: true,
        ...(from > 0 && { headers: { range: `bytes=${from}-` } }),
        scopes: [client.scope('pull')],
        expected: from > 0 ? [200, 206, 416] : [200],
        what: `the blob ${id.digest}`,
      },
      progress,
    )
    if (answer.status !== 206 && from > 0) {
      // It knows no ranges, or not this one.
      counter.add(-from)
      draft.restart()
      if (answer.status === 416) {
        answer.response.destroy()
        return attempt()
      }
    }
    if (answer.status === 206 && !answer.headers['content-range']?.startsWith(`bytes ${from}-`)) {
      answer.response.destroy()
      throw badAnswer(client.host, 'another range than the one that it was asked for')
    }
    for await (const chunk of bodyOf(answer, progress)) {
      intake.transferred.bytes += chunk.length
      if (draft.size + chunk.length > id.size) throw another(draft, id, draft.size + chunk.length)
      draft.write(chunk)
      counter.add(chunk.length)
    }
    if (draft.size < id.size) throw another(draft, id, draft.size)
  }
  await retrying(client.settings, progress, attempt, () => draft.size)
}

/** An answer that was whole and is not the blob: nothing of it is worth going on with. */
function another(draft: BlobDraft, id: BlobId, size: number) {
  draft.restart()
  return sizeMismatch(id.size, size)
}
