import { randomBytes } from 'node:crypto'
import { posix } from 'node:path'
import { CoppiceError, Progress, transferStallMs } from '@coppice/protocol/wire'
import { ByteProgress } from '../import/byte-progress.ts'
import { requireRoom } from './room.ts'
import type { ScratchFolder } from './scratch-folder.ts'
import { watched } from './stall.ts'
import { tarAround } from './tar-around.ts'

/** Milliseconds for taking a staged file away again. */
const CLEAN_UP_MS = 30_000

/** An image as one archive. Whoever knows its size beforehand needs no scratch file. */
export type PushSource = { name: string } & (
  | { sizeBytes: number; open(progress: Progress): AsyncIterable<Uint8Array> }
  | { estimateBytes: number; open(progress: Progress): AsyncIterable<Uint8Array> }
)

/** A container that files are put into. */
export interface PushTarget {
  /** As people know it. */
  name: string
  /** Bytes free where a folder of the container is; null when that cannot be known. */
  freeBytes(folder: string): Promise<number | null>
  /** Unpacks a tar of `sizeBytes` into a folder of the container. */
  put(folder: string, sizeBytes: number, chunks: AsyncIterable<Uint8Array>, progress: Progress): Promise<void>
  /** Runs a command line in the container. */
  run(command: string, progress: Progress): Promise<{ exitCode: number; output: string }>
  remove(path: string, progress: Progress): Promise<void>
}

export interface PushOptions {
  /** Folder in the container. Default `/tmp`, where `--import` is given, else `/`. */
  folder?: string
  /** Command that takes the file in, `{file}` its path. The file is removed after it, or after its failure. */
  importCommand?: string
  scratch: ScratchFolder
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
 * @throws `resource_exhausted/no_room`, `resource_exhausted/scratch_full`, `deadline_exceeded/transfer_stalled`,
 * `conflict/source_changed`, `failed_precondition/import_failed`
 */
export async function pushInto(
  source: PushSource,
  target: PushTarget,
  options: PushOptions,
  progress: Progress,
): Promise<Pushed> {
  const { importCommand, scratch } = options
  const folder = options.folder ?? (importCommand === undefined ? '/' : '/tmp')
  const estimate = 'sizeBytes' in source ? source.sizeBytes : source.estimateBytes
  requireRoom(
    `${target.name}:${folder}`,
    estimate,
    await target.freeBytes(folder),
    'Name another folder: container:NAME:/DIR',
  )
  const file = fileName(source.name, importCommand !== undefined)
  const path = posix.join(folder, file)
  let sizeBytes = 0
  let begun = false
  try {
    sizeBytes = await withSize(source, scratch, progress, (size, chunks) => {
      begun = true
      return send(target, folder, file, size, chunks, progress)
    })
    if (importCommand === undefined) return { file: path, sizeBytes, output: '' }
    return { file: null, sizeBytes, output: await runImport(target, importCommand, path, progress) }
  } catch (error) {
    // A whole file without an import is the result; half a one never is. One of before is left alone until it is written over.
    if (begun && importCommand === undefined) await removeStaged(target, path, progress)
    throw error
  } finally {
    if (begun && importCommand !== undefined) await removeStaged(target, path, progress)
  }
}

/** Learns the size, from a scratch file if need be, and hands the bytes on. */
async function withSize(
  source: PushSource,
  scratch: ScratchFolder,
  progress: Progress,
  use: (size: number, chunks: AsyncIterable<Uint8Array>) => Promise<void>,
): Promise<number> {
  const content = () => watched(source.open(progress), transferStallMs(), `The export of ${source.name}`)
  if ('sizeBytes' in source) {
    await use(source.sizeBytes, content())
    return source.sizeBytes
  }
  requireRoom(scratch.dir, source.estimateBytes, await scratch.freeBytes(), 'COPPICE_SCRATCH_DIR=/a/folder/with/room')
  const counter = new ByteProgress(`Exporting ${source.name}`, source.estimateBytes, progress)
  const file = await scratch.take(counted(content(), counter), progress)
  try {
    const size = await file.sizeBytes()
    await use(size, file.chunks())
    return size
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
  const counter = new ByteProgress(`Sending to ${target.name}`, size, progress)
  const archive = tarAround(file, size, counted(chunks, counter))
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

/** Also after a cancel: what was staged is not the container's to keep. */
async function removeStaged(target: PushTarget, path: string, progress: Progress): Promise<void> {
  await target.remove(path, new Progress({ timeoutMs: CLEAN_UP_MS })).catch((error: unknown) => {
    progress.report(`${target.name}:${path} could not be removed: ${CoppiceError.from(error).message}`)
  })
}

async function* counted(chunks: AsyncIterable<Uint8Array>, counter: ByteProgress): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
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
