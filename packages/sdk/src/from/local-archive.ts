import { createReadStream } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import type { GatewayConnection } from '../connection.ts'
import type { BroughtImage } from '../image-events.ts'
import type { Images, ImportOptions } from '../images.ts'
import { localError } from '../local-upload.ts'
import { pack, readExactly } from '../tar/pack.ts'
import { withFifo } from './fifo.ts'
import { knownArchive } from './known-archive.ts'
import { inOwnWords } from './place-words.ts'
import { type ArchivePlace, isLayout, nameOfFile } from './recognise.ts'

/** How much of a device is read at once, bytes. */
const READ_BYTES = 1024 * 1024

/** See `Images.importPath`. */
export async function importPath(
  connection: GatewayConnection,
  images: Images,
  place: string | ArchivePlace,
  options: ImportOptions,
): Promise<BroughtImage> {
  const { kind, path, reference } = typeof place === 'string' ? ({ kind: 'file', path: place } as ArchivePlace) : place
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw localError(error, path)
  })
  const common = { ref: reference, fallbackName: nameOfFile(path), ...options }
  const ownWords = (error: unknown) => {
    throw inOwnWords(error, path, found.isDirectory())
  }
  if (found.isDirectory()) {
    if (kind !== 'oci' && kind !== 'file') throw notAnArchive(path)
    if (!isLayout(path)) throw notALayout(path)
    options.onKnown?.(false)
    const source = localFaults(pack(await realpath(path)), path)
    return images.import(source, { ...common, format: 'oci-archive' }).catch(ownWords)
  }
  if (kind === 'oci') throw notALayout(path)
  const archive = { format: kind === 'file' ? ('auto' as const) : kind, ...common }
  const send = (source: AsyncIterable<Buffer>, size?: number) => {
    options.onKnown?.(false)
    return images.import(localFaults(source, path), { ...archive, size }).catch(ownWords)
  }
  if (found.isFIFO()) {
    return withFifo(path, send).catch((error: unknown) => {
      throw asLocalFault(error, path)
    })
  }
  if (!found.isFile()) return send(createReadStream(path, { highWaterMark: READ_BYTES }))
  const known = await knownArchive(connection, path, found.size, archive).catch((error: unknown) => {
    throw inOwnWords(asLocalFault(error, path), path, false)
  })
  if (!known) return send(readExactly(path, found.size), found.size)
  options.onKnown?.(true)
  return known
}

async function* localFaults(source: AsyncIterable<Buffer>, path: string): AsyncGenerator<Buffer> {
  try {
    yield* source
  } catch (error) {
    throw asLocalFault(error, path)
  }
}

function asLocalFault(error: unknown, path: string): CoppiceError {
  return error instanceof CoppiceError ? error : localError(error as NodeJS.ErrnoException, path)
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
