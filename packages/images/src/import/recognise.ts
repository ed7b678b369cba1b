import { createReadStream } from 'node:fs'
import { lstat, open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'
import { type Compression, decompressed, MAGIC_BYTES, recogniseCompression } from '../compression.ts'
import { badArchive, errnoOf, withStoreFaults } from '../faults.ts'
import { CHUNK_BYTES } from '../store/blobs.ts'
import { TarScanner } from '../tar/scanner.ts'

/** What an import reads, after looking. */
export type Source =
  | { kind: 'rootfs' | 'oci-archive'; path: string; compression: Compression; ref: string | undefined }
  | { kind: 'oci-folder'; path: string; ref: string | undefined }

/**
 * Finds out what `text` means. `oci:DIR[:REF]` and `oci-archive:FILE[:REF]` are taken at their word, a plain path is
 * recognised by its content. Throws `unsupported/source_kind` for sources that are known and not read, and
 * `not_found/file_not_found`.
 */
export async function recogniseSource(text: string): Promise<Source> {
  const [, prefix, rest] = /^([a-z-]+):(.*)$/s.exec(text) ?? []
  if (prefix === 'oci' || prefix === 'oci-archive') {
    const { path, ref } = await splitRef(rest ?? '')
    if (prefix === 'oci') return { kind: 'oci-folder', path, ref }
    return { kind: 'oci-archive', path, ref, compression: await compressionOf(path) }
  }
  if (prefix !== undefined && !(await exists(text))) throw unsupportedSource(text, prefix)
  const info = await withStoreFaults(text, () => stat(text))
  if (info.isDirectory()) {
    if (await exists(join(text, 'oci-layout'))) return { kind: 'oci-folder', path: text, ref: undefined }
    throw new CoppiceError('unsupported', 'source_kind', `${text} is a folder and no OCI layout.`, {
      hint: `tar -C ${text} -cf rootfs.tar . && coppice image import rootfs.tar`,
    })
  }
  const compression = await compressionOf(text)
  return { kind: await archiveKind(text, compression), path: text, compression, ref: undefined }
}

/** `FILE:REF`, unless there is a file of the whole name. */
async function splitRef(text: string): Promise<{ path: string; ref: string | undefined }> {
  const colon = text.indexOf(':')
  if (colon === -1 || (await exists(text))) {
    await withStoreFaults(text, () => stat(text))
    return { path: text, ref: undefined }
  }
  const path = text.slice(0, colon)
  await withStoreFaults(path, () => stat(path))
  return { path, ref: text.slice(colon + 1) }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR' || errnoOf(error) === 'ENAMETOOLONG') return false
    return withStoreFaults(path, () => Promise.reject(error))
  }
}

async function compressionOf(path: string): Promise<Compression> {
  return withStoreFaults(path, async () => {
    const file = await open(path, 'r')
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(MAGIC_BYTES), 0, MAGIC_BYTES, 0)
      return recogniseCompression(buffer.subarray(0, bytesRead))
    } finally {
      await file.close()
    }
  })
}

/** Thrown by the scan once it knows enough. */
class Decided extends Error {
  readonly kind: 'rootfs' | 'oci-archive' | 'docker-archive'
  constructor(kind: 'rootfs' | 'oci-archive' | 'docker-archive') {
    super(kind)
    this.kind = kind
  }
}

/** The first entry that is telling decides; folders before it (`./`, `blobs/`) are not, and have no bodies to read. */
async function archiveKind(path: string, compression: Compression): Promise<'rootfs' | 'oci-archive'> {
  const scanner = new TarScanner(({ name, type }) => {
    const clean = name.replace(/^(\.\/)+/, '').replace(/\/+$/, '')
    if (clean === '' || clean === '.' || (type === '5' && (clean === 'blobs' || clean === 'blobs/sha256')))
      return 'drop'
    if (/^(oci-layout|index\.json|blobs\/sha256\/[0-9a-f]{64})$/.test(clean)) throw new Decided('oci-archive')
    if (/^(manifest\.json|repositories|[0-9a-f]{64}(\.json|\.tar|\/.*)?)$/.test(clean))
      throw new Decided('docker-archive')
    throw new Decided('rootfs')
  })
  const file = createReadStream(path, { highWaterMark: CHUNK_BYTES })
  try {
    for await (const chunk of decompressed(file, compression)) scanner.push(chunk)
    scanner.finish()
  } catch (error) {
    if (!(error instanceof Decided)) throw error
    if (error.kind !== 'docker-archive') return error.kind
    throw new CoppiceError(
      'unsupported',
      'source_kind',
      `${path} is a docker archive, which this version does not read.`,
      {
        hint: `skopeo copy docker-archive:${path} oci-archive:image.tar && coppice image import image.tar`,
      },
    )
  } finally {
    file.destroy()
  }
  throw badArchive('archive_empty', `${path} holds no files.`)
}

function unsupportedSource(text: string, prefix: string): CoppiceError {
  if (/^(docker|docker-daemon|docker-archive|podman|container|containers-storage|dir|https?)$/.test(prefix)) {
    return new CoppiceError('unsupported', 'source_kind', `Images are not read from "${prefix}:" by this version.`, {
      hint: `skopeo copy ${text} oci-archive:image.tar && coppice image import image.tar`,
    })
  }
  return new CoppiceError('not_found', 'file_not_found', `There is no ${text}.`)
}
