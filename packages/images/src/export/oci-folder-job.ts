import { mkdir, readdir, readFile, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { syncFolder } from '@coppice/limits'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import type { Job } from '../bulk/job.ts'
import { errnoOf, withStoreFaults } from '../faults.ts'
import { ByteProgress } from '../import/byte-progress.ts'
import { readChunks } from '../import/disk-source.ts'
import { blobName } from '../import/file-source.ts'
import { BlobDraft } from '../store/blob-draft.ts'
import type { BlobId } from '../store/blob-id.ts'
import { replaceFile } from '../store/durable.ts'
import { nameOf } from '../store/index-file.ts'
import { type Descriptor, type Index, MediaType, parseIndex } from '../store/schemas.ts'
import { LAYOUT_MARKER } from './oci-archive.ts'

export interface FolderArgs {
  dir: string
  /** The image as it stands in the index, with its name there. */
  entry: Descriptor
  blobs: (BlobId & { path: string })[]
}

/**
 * Writes an image into an OCI layout folder, which is made when it is not there: only the blobs that it lacks, and the index
 * last. Other images in the folder stay; one of the same name loses it.
 */
export const folderJob: Job<FolderArgs, void> = async ({ dir, entry, blobs }, { progress }) => {
  await withStoreFaults(dir, async () => {
    const manifests = await openLayout(dir)
    const total = blobs.reduce((sum, blob) => sum + blob.size, 0)
    const counter = new ByteProgress('Writing the layout', total, progress)
    for (const blob of blobs) await copyBlob(dir, blob, counter, progress)
    await syncFolder(join(dir, 'blobs/sha256'))
    const others = manifests.filter((other) =>
      nameOf(entry) === undefined
        ? other.digest !== entry.digest || nameOf(other) !== undefined
        : nameOf(other) !== nameOf(entry),
    )
    const index: Index = { schemaVersion: 2, mediaType: MediaType.index, manifests: [...others, entry] }
    await replaceFile(join(dir, 'index.json'), JSON.stringify(index), 0o644)
  })
}

/** The images that are there. Throws `failed_precondition/not_a_layout` for a folder that holds something else. */
async function openLayout(dir: string): Promise<Descriptor[]> {
  await mkdir(dir, { recursive: true })
  const names = await readdir(dir)
  if (names.length > 0 && !names.includes('oci-layout')) {
    throw new CoppiceError('failed_precondition', 'not_a_layout', `${dir} is neither empty nor an OCI layout.`, {
      facts: { path: dir },
      hint: 'Name a new folder.',
    })
  }
  await mkdir(join(dir, 'blobs/sha256'), { recursive: true })
  if (!names.includes('oci-layout')) await replaceFile(join(dir, 'oci-layout'), LAYOUT_MARKER, 0o644)
  if (!names.includes('index.json')) return []
  const path = join(dir, 'index.json')
  return parseIndex(await readFile(path), path).manifests
}

async function copyBlob(
  dir: string,
  blob: BlobId & { path: string },
  counter: ByteProgress,
  progress: Progress,
): Promise<void> {
  const target = join(dir, blobName(blob.digest))
  if ((await sizeOf(target)) === blob.size) {
    counter.add(blob.size)
    return
  }
  const draft = BlobDraft.create(`${target}.${process.pid}-${Date.now()}.part`, 0o644)
  try {
    for (const chunk of readChunks(blob.path, { start: 0, size: blob.size })) {
      draft.write(chunk)
      counter.add(chunk.length)
      await turn()
      progress.throwIfEnded()
    }
    await draft.finish(blob)
    await rename(draft.path, target)
  } catch (error) {
    await draft.remove()
    throw error
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}
