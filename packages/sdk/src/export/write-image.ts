import { stat } from 'node:fs/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import type { ArchivePlace } from '../from/recognise.ts'
import type { Exported, ExportOptions, Images } from '../images.ts'
import { localError } from '../local-upload.ts'
import { writeArchive } from './archive-file.ts'
import { writeLayout } from './layout-folder.ts'

/** See `Images.exportPath`. */
export async function writeImage(
  images: Images,
  ref: string,
  { kind, path, reference }: ArchivePlace,
  options: Omit<ExportOptions, 'format'>,
): Promise<Exported> {
  if (kind !== 'oci' && (await stat(path).catch(() => undefined))?.isDirectory()) {
    throw new CoppiceError('invalid_argument', 'target_is_folder', `${path} is a folder, and an archive is a file.`, {
      facts: { path },
      hint: `coppice image export ${ref} oci:${path}, which writes an OCI layout`,
    })
  }
  const format = kind === 'docker-archive' ? 'docker-archive' : 'oci-archive'
  const archive = await images.export(ref, { name: reference, ...options, format })
  let bytes = 0
  const counted = (async function* () {
    for await (const chunk of archive as AsyncIterable<Buffer>) {
      bytes += chunk.length
      yield chunk
    }
  })()
  try {
    await (kind === 'oci' ? writeLayout : writeArchive)(counted, path)
    return { path, bytes }
  } catch (error) {
    throw error instanceof CoppiceError ? error : localError(error as NodeJS.ErrnoException, path)
  } finally {
    archive.destroy()
  }
}
