import { randomBytes } from 'node:crypto'
import { posix } from 'node:path'
import { CoppiceError, Progress, transferStallMs } from '@coppice/protocol/wire'
import { ByteProgress } from '../import/byte-progress.ts'
import { fullOnTheWay, type Place, requireRoom, type Space } from './room.ts'
import type { ScratchFolder } from './scratch-folder.ts'
import type { StagedFiles, StagedNote } from './staged-files.ts'
import { watched } from './stall.ts'
import { tarAround } from './tar-around.ts'

/** Milliseconds for taking a staged file away again. */
const CLEAN_UP_MS = 30_000

/** Bytes a second with which an engine is granted to prepare an export; Docker does 150 MB/s on a busy disk. */
const PREPARED_PER_SECOND = 5_000_000

/** Where a file waits for its import, the first that is fit. Nodes of kind have a `/tmp` in memory. */
const PASSING_FOLDERS = ['/tmp', '/var/tmp', '/']

/** An image whose size is known beforehand, as one archive: it needs no scratch file. */
export interface SizedSource {
  name: string
  sizeBytes: number
  /** A chunk is the reader's until it asks for the next but one. */
  open(progress: Progress): AsyncIterable<Uint8Array>
}

/** An image that somebody else makes an archive of, whose size is known when it is there. */
export interface ExportedSource {
  name: string
  estimateBytes: number
  /** A chunk is the reader's until it asks for the next. */
  open(progress: Progress): AsyncIterable<Uint8Array>
  /** Whether who exports still answers. It says nothing while it prepares the archive, for minutes when that is large. */
  alive(progress: Progress): Promise<boolean>
}

export type PushSource = SizedSource | ExportedSource

/** A container that files are put into. */
export interface PushTarget {
  /** As people know it. */
  name: string
  /** By which it is found again, by another process too. */
  id: string
  /** Why no file can be put into a folder of the container; undefined where one can. */
  unfit(folder: string, progress: Progress): Promise<CoppiceError | undefined>
  /** Room where a folder of the container is; null when that cannot be known. */
  space(folder: string): Promise<Space | null>
  /** Unpacks a tar of `sizeBytes` into a folder of the container. */
  put(folder: string, sizeBytes: number, chunks: AsyncIterable<Uint8Array>, progress: Progress): Promise<void>
  /** Runs a command line in the container. */
  run(command: string, progress: Progress): Promise<{ exitCode: number; output: string }>
  remove(path: string, progress: Progress): Promise<void>
}

export interface PushOptions {
  /** Folder in the container. Default: with an import the first of `/tmp`, `/var/tmp` and `/` that files can be put into, else `/`. */
  folder?: string
  /** Command that takes the file in, `{file}` its path. The file is removed after it, or after its failure. */
  importCommand?: string
  scratch: ScratchFolder
  staged: StagedFiles
}

/** What a push leaves. */
export interface Pushed {
  /** Path in the container; null when it was imported and is gone. */
  file: string | null
  sizeBytes: number
  /** What the import command said. */
  output: string
}

/**
 * Puts an image into a container's file system as one archive, and has it imported there. One pass, O(chunk) memory; one scratch
 * file where the size is not known beforehand, none where it is.
 *
 * @throws `resource_exhausted/no_room`, before the export begins or in the middle; `deadline_exceeded/transfer_stalled`,
 * `conflict/source_changed`, `failed_precondition/import_failed`, and why no file can be put into the folder
 */
export async function pushInto(
  source: PushSource,
  target: PushTarget,
  options: PushOptions,
  progress: Progress,
): Promise<Pushed> {
  const { importCommand, scratch } = options
  const folder = await fitFolder(target, options, progress)
  const there = async () => placeIn(target, folder)
  if ('sizeBytes' in source) requireRoom(source.sizeBytes, [await there()])
  else requireRoom(source.estimateBytes, [await scratch.place(), await there()])
  const file = fileName(source.name, importCommand !== undefined)
  const path = posix.join(folder, file)
  // Ends with the scratch file gone: what the import unpacks may need its room.
  const { note, sizeBytes } = await withSize(source, scratch, progress, async (sizeBytes, chunks) => {
    if (!('sizeBytes' in source)) requireRoom(sizeBytes, [await there()])
    const note = await options.staged.add({ target: target.id, path })
    try {
      await send(target, folder, file, sizeBytes, chunks, progress)
      return { note, sizeBytes }
    } catch (error) {
      // Half a file is never left, with an import or without.
      await removeStaged(target, note, progress)
      throw isFull(error) ? fullOnTheWay(sizeBytes, await there(), error) : error
    }
  })
  if (importCommand === undefined) {
    await note.forget()
    return { file: path, sizeBytes, output: '' }
  }
  try {
    return { file: null, sizeBytes, output: await runImport(target, importCommand, path, progress) }
  } finally {
    await removeStaged(target, note, progress)
  }
}

/** Where the file goes: what was asked for, or what does as well for a file that goes again. */
async function fitFolder(target: PushTarget, options: PushOptions, progress: Progress): Promise<string> {
  const { folder, importCommand } = options
  const candidates = folder !== undefined ? [folder] : importCommand === undefined ? ['/'] : PASSING_FOLDERS
  let fault: CoppiceError | undefined
  for (const candidate of candidates) {
    const unfit = await target.unfit(candidate, progress)
    if (!unfit) return candidate
    fault ??= unfit
  }
  throw fault
}

async function placeIn(target: PushTarget, folder: string): Promise<Place> {
  const space = await target.space(folder)
  return { name: `${target.name}:${folder}`, space, hint: `coppice image push … ${target.name}:/a/folder/with/room` }
}

function isFull(error: unknown): boolean {
  return CoppiceError.from(error).code === 'resource_exhausted'
}

/** Learns the size, from a scratch file if need be, and hands the bytes on. */
async function withSize<T>(
  source: PushSource,
  scratch: ScratchFolder,
  progress: Progress,
  use: (size: number, chunks: AsyncIterable<Uint8Array>) => Promise<T>,
): Promise<T> {
  const limitMs = transferStallMs()
  const what = `The export of ${source.name}`
  if ('sizeBytes' in source) {
    return use(source.sizeBytes, watched(source.open(progress), limitMs, what))
  }
  const { name, estimateBytes } = source
  const preparation = {
    limitMs: limitMs + (estimateBytes / PREPARED_PER_SECOND) * 1000,
    alive: () => source.alive(progress),
  }
  if (scratch.warning !== undefined) progress.report(scratch.warning)
  progress.report(`Waiting for the export of ${name}`)
  const content = watched(source.open(progress), limitMs, what, preparation)
  const file = await scratch.take(
    counted(content, () => new ByteProgress(`Exporting ${name}`, estimateBytes, progress)),
    estimateBytes,
    progress,
  )
  try {
    return await use(await file.sizeBytes(), file.chunks())
  } finally {
    await file.close()
  }
}

async function send(
  target: PushTarget,
  folder: string,
  file: string,
  size: number,
  chunks: AsyncIterable<Uint8Array>,
  progress: Progress,
): Promise<void> {
  const content = counted(chunks, () => new ByteProgress(`Sending to ${target.name}`, size, progress))
  const archive = tarAround(file, size, content)
  await target.put(folder, archive.sizeBytes, archive.chunks, progress)
}

async function runImport(target: PushTarget, command: string, path: string, progress: Progress): Promise<string> {
  progress.report(`Importing in ${target.name}`)
  const { exitCode, output } = await target.run(command.replaceAll('{file}', path), progress)
  if (exitCode === 0) return output
  throw new CoppiceError(
    'failed_precondition',
    'import_failed',
    `The import in ${target.name} ended with ${exitCode}: ${output.trim().slice(-500)}`,
    { facts: { command, exitCode, output } },
  )
}

/** Also after a cancel: what was staged is not the container's to keep. What cannot be removed stays noted. */
async function removeStaged(target: PushTarget, { path, forget }: StagedNote, progress: Progress): Promise<void> {
  progress.report(`Removing ${target.name}:${path}`)
  try {
    await target.remove(path, new Progress({ timeoutMs: CLEAN_UP_MS }))
    await forget()
  } catch (error) {
    progress.report(`${target.name}:${path} could not be removed: ${CoppiceError.from(error).message}`)
  }
}

/** @param begin called with the first chunk, so that nothing is said before */
async function* counted(chunks: AsyncIterable<Uint8Array>, begin: () => ByteProgress): AsyncGenerator<Uint8Array> {
  let counter: ByteProgress | undefined
  for await (const chunk of chunks) {
    counter ??= begin()
    counter.add(chunk.length)
    yield chunk
  }
}

/** A name that nobody else has, where the file is to go again; one that people can find, where it stays. */
function fileName(image: string, passing: boolean): string {
  const readable =
    image
      .replace(/[^A-Za-z0-9._-]+/g, '-')
      .replace(/^-+/, '')
      .slice(0, 60) || 'image'
  return passing ? `coppice-${randomBytes(6).toString('hex')}.tar` : `${readable}.tar`
}
