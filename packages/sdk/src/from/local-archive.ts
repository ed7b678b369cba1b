import { createReadStream } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import type { BroughtImage } from '../image-events.ts'
import type { Images, ImportOptions } from '../images.ts'
import { localError } from '../local-upload.ts'
import { pack, readExactly } from '../tar/pack.ts'
import { type ArchivePlace, isLayout, nameOfFile } from './recognise.ts'

/** How much of a fifo is read at once, bytes. */
const READ_BYTES = 1024 * 1024

/** See `Images.importPath`. */
export async function importPath(
  images: Images,
  place: string | ArchivePlace,
  options: ImportOptions,
): Promise<BroughtImage> {
  const { kind, path, reference } = typeof place === 'string' ? ({ kind: 'file', path: place } as ArchivePlace) : place
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw localError(error, path)
  })
  const common = { ref: reference, fallbackName: nameOfFile(path), ...options }
  if (found.isDirectory()) {
    if (kind !== 'oci' && kind !== 'file') throw notAnArchive(path)
    if (!isLayout(path)) throw notALayout(path)
    return images.import(localFaults(pack(await realpath(path)), path), { ...common, format: 'oci-archive' })
  }
  if (kind === 'oci') throw notALayout(path)
  const source = found.isFile() ? readExactly(path, found.size) : createReadStream(path, { highWaterMark: READ_BYTES })
  return images.import(localFaults(source, path), {
    format: kind === 'file' ? 'auto' : kind,
    ...(found.isFile() ? { size: found.size } : {}),
    ...common,
  })
}

async function* localFaults(source: AsyncIterable<Buffer>, path: string): AsyncGenerator<Buffer> {
  try {
    yield* source
  } catch (error) {
    throw error instanceof CoppiceError ? error : localError(error as NodeJS.ErrnoException, path)
  }
}

function notALayout(path: string): CoppiceError {
  return new CoppiceError('invalid_argument', 'not_an_oci_layout', `${path} is no folder with an oci-layout file.`, {
    facts: { path },
  })
}

function notAnArchive(path: string): CoppiceError {
  return new CoppiceError('invalid_argument', 'not_an_archive', `${path} is a folder, not an archive.`, {
    facts: { path },
    hint: `coppice image import oci:${path}`,
  })
}
