import type { Stats } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type ArchivePrint, CoppiceError, type ImageConfig, type Progress } from '@coppice/protocol/wire'
import type { Job } from '../bulk/job.ts'
import { decompressed } from '../compression.ts'
import { badArchive, errnoOf, withStoreFaults } from '../faults.ts'
import { Intake, type StoreFolders, type Transferred } from '../store/intake.ts'
import { hostArchitecture } from '../store/schemas.ts'
import { ArchiveHash } from './archive-hash.ts'
import { type ArchiveKind, type Recognised, recogniseArchive } from './archive-kind.ts'
import { ByteProgress } from './byte-progress.ts'
import { type Platform, requirePlatform } from './choose-image.ts'
import { archiveSource, folderSource, readChunks } from './disk-source.ts'
import { importDockerArchive } from './docker-archive.ts'
import type { FileSource } from './file-source.ts'
import { type Found, importOci } from './oci.ts'
import { importRootfs, type RootfsOptions } from './rootfs.ts'
import { streamSource } from './stream-source.ts'

/** How somebody says what he brings; `auto` is recognised by its content. */
export type ArchiveFormat = 'auto' | 'oci-archive' | 'docker-archive' | 'rootfs'

export interface ImportArgs {
  folders: StoreFolders
  from:
    | { kind: 'oci'; path: string }
    | { kind: 'file'; path: string; format: ArchiveFormat }
    /**
     * What the job is fed. `sizeBytes`: when it is known; `estimateBytes`: for the progress alone; `hash`: whether the outcome
     * shall say what the archive is known by, which needs the size.
     */
    | {
        kind: 'stream'
        format: ArchiveFormat
        sizeBytes: number | undefined
        estimateBytes: number | undefined
        hash: boolean
      }
  /** Which image, where the source holds several. */
  ref: string | undefined
  platform: Platform
  /** The platform was asked for: another one is no answer. */
  strict: boolean
  config: ImageConfig
  maxUnpackedBytes: number
}

export interface ImportOutcome extends Found {
  transferred: Transferred
  /** Where it was asked for and the archive was read to its end. */
  archive?: ArchivePrint | undefined
}

/** Brings in an image from a folder, an archive or a stream. */
export const importJob: Job<ImportArgs, ImportOutcome> = async (args, { store, input, progress }) => {
  const intake = new Intake(args.folders, store, progress)
  const { from } = args
  const hash = from.kind === 'stream' && from.hash && from.sizeBytes !== undefined && new ArchiveHash(from.sizeBytes)
  const found = await read(args, intake, hash ? hashed(input, hash) : input, progress)
  return { ...found, transferred: intake.transferred, ...(hash && { archive: hash.finish() }) }
}

async function read(
  args: ImportArgs,
  intake: Intake,
  input: AsyncIterable<Buffer>,
  progress: Progress,
): Promise<Found> {
  const { from } = args
  if (from.kind === 'stream') {
    const { sizeBytes, estimateBytes = sizeBytes } = from
    const chunks = counted(input, estimateBytes, progress)
    return readArchive(chunks, { sizeBytes }, from.format, args, intake, progress)
  }
  const info = await withStoreFaults(from.path, () => stat(from.path))
  if (from.kind === 'oci' || info.isDirectory()) {
    await checkLayout(from.path, info)
    const options = { ...args, where: `oci:${from.path}` as const }
    return close(folderSource(from.path), (source) => importOci(source, options, intake, progress))
  }
  if (!info.isFile()) throw notAFile(from.path)
  const chunks = readChunks(from.path, { start: 0, size: info.size })
  const archive = { sizeBytes: info.size, path: from.path }
  return readArchive(counted(chunks, info.size, progress), archive, from.format, args, intake, progress)
}

/** An archive, as far as it is known before it is read. */
interface Archive {
  sizeBytes: number | undefined
  /** As a file, which can be read in any order when it is not packed. */
  path?: string
}

async function readArchive(
  source: AsyncIterable<Buffer>,
  { sizeBytes = 0, path }: Archive,
  format: ArchiveFormat,
  args: ImportArgs,
  intake: Intake,
  progress: Progress,
): Promise<Found> {
  const recognised = await recogniseArchive(source)
  const { compression, chunks } = recognised
  if (archiveKind(recognised, format) === 'rootfs') {
    await orClosed(chunks, () => {
      if (args.strict) requirePlatform({ os: 'linux', architecture: hostArchitecture() }, args.platform)
      requireRoom(intake, sizeBytes, 0)
    })
    const options: RootfsOptions = { config: args.config, maxUnpackedBytes: args.maxUnpackedBytes }
    return importRootfs(chunks, compression, options, intake, progress)
  }
  if (path === undefined || compression !== 'none') {
    const storedBytes = await intake.storedBytes()
    await orClosed(chunks, () => requireRoom(intake, sizeBytes, storedBytes))
    const unpacked = decompressed(chunks, compression)
    const drained = await streamSource(unpacked, intake, args.maxUnpackedBytes, progress)
    return close(drained, (files) => importImage(files, format, args, intake, progress))
  }
  await chunks.return()
  return close(await archiveSource(path), (files) => importImage(files, format, args, intake, progress))
}

/**
 * For an archive that is written while it comes: all of it but what the store may have. How much that is its list tells,
 * which may come last; each file of it is looked at when its turn has come.
 */
function requireRoom(intake: Intake, sizeBytes: number, storedBytes: number): void {
  intake.requireRoom(sizeBytes - storedBytes, 'the archive')
}

async function orClosed(chunks: Recognised['chunks'], check: () => void): Promise<void> {
  try {
    check()
  } catch (error) {
    await chunks.return()
    throw error
  }
}

function archiveKind({ kind }: Recognised, format: ArchiveFormat): ArchiveKind {
  if (format === 'auto') return kind
  return format === 'rootfs' ? 'rootfs' : 'image'
}

/** What is both is read as OCI layout: its layers may be packed, and its manifest is the one that others know. */
async function importImage(
  files: FileSource,
  format: ArchiveFormat,
  args: ImportArgs,
  intake: Intake,
  progress: Progress,
): Promise<Found> {
  const oci = (await files.size('index.json')) !== undefined && (await files.size('oci-layout')) !== undefined
  const docker = (await files.size('manifest.json')) !== undefined
  if (format === 'docker-archive' ? docker : docker && !oci) {
    return importDockerArchive(files, args.ref, args.strict ? args.platform : undefined, intake, progress)
  }
  if (!oci && format !== 'auto') throw notOfFormat(format)
  return importOci(files, { ...args, where: 'oci-archive:FILE' }, intake, progress)
}

function notOfFormat(format: ArchiveFormat): CoppiceError {
  const [kind, what] =
    format === 'docker-archive' ? ['docker archive', 'manifest.json'] : ['OCI archive', 'oci-layout and index.json']
  const message = `It is no ${kind}: it holds no ${what}.`
  return badArchive('layout_incomplete', message, {}, 'coppice image import FILE')
}

async function close<R>(source: FileSource, work: (source: FileSource) => Promise<R>): Promise<R> {
  try {
    return await work(source)
  } finally {
    await source.close()
  }
}

async function* counted(
  source: AsyncIterable<Buffer> | Iterable<Buffer>,
  size: number | undefined,
  progress: Progress,
): AsyncGenerator<Buffer> {
  const counter = new ByteProgress('Reading the archive', size, progress)
  for await (const chunk of source) {
    counter.add(chunk.length)
    yield chunk
  }
}

async function* hashed(source: AsyncIterable<Buffer>, hash: ArchiveHash): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    hash.add(chunk)
    yield chunk
  }
}

async function checkLayout(path: string, info: Stats): Promise<void> {
  if (info.isDirectory() && (await exists(join(path, 'oci-layout')))) return
  if (!info.isDirectory()) throw badArchive('not_a_layout', `${path} is no folder.`)
  throw new CoppiceError('unsupported', 'source_kind', `${path} is a folder and no OCI layout.`, {
    hint: `tar -C ${path} -cf rootfs.tar . && coppice image import rootfs.tar`,
  })
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    return withStoreFaults(path, () => Promise.reject(error))
  }
}

function notAFile(path: string): CoppiceError {
  return new CoppiceError('unsupported', 'source_kind', `${path} is neither a file nor a folder.`, {
    hint: `coppice image import - < ${path}`,
  })
}
