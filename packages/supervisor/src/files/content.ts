import type { BigIntStats } from 'node:fs'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import type { ServerHttp2Stream } from 'node:http2'
import { CoppiceError } from '@coppice/protocol/wire'
import type { Request } from '../session/router.ts'
import { notAFile, onPath } from './errors.ts'
import { requirePath } from './path.ts'
import { toFileStat } from './stat.ts'

const CHUNK_BYTES = 256 * 1024

/** HTTP/2's INTERNAL_ERROR: the reader must not take what it has for the whole. */
const INTERNAL_ERROR = 2

/**
 * `GET /files/content`: a file from an offset on. `If-Match` with an earlier answer's `etag` makes a resumed read fail with
 * `conflict/file_changed` instead of joining two versions.
 */
export async function readContent({ stream, headers, query }: Request): Promise<void> {
  const path = requirePath(query.bytes('path'))
  // O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever.
  const file = await onPath(path, () => open(path, constants.O_RDONLY | constants.O_NONBLOCK))
  try {
    const stats = await file.stat({ bigint: true })
    if (stats.isDirectory()) throw isDirectory(path)
    if (!stats.isFile()) throw notAFile(path)
    const etag = etagOf(stats)
    const wanted = headers['if-match']
    if (wanted !== undefined && wanted !== etag) throw changed(path)
    const offset = query.count('offset') ?? 0
    const left = Math.max(0, Number(stats.size) - offset)
    // Files of /proc claim a size of 0 and have content all the same.
    const sized = stats.size > 0n
    const length = Math.min(query.count('length') ?? Number.POSITIVE_INFINITY, sized ? left : Number.POSITIVE_INFINITY)
    if (stream.destroyed) return
    stream.respond({
      ':status': 200,
      'content-type': 'application/octet-stream',
      etag,
      'x-coppice-stat': asciiJson(toFileStat(path, await file.stat())),
      ...(sized ? { 'content-length': length } : {}),
    })
    if (await sendFile(stream, file, offset, length, sized)) stream.end()
    else stream.close(INTERNAL_ERROR)
  } finally {
    await file.close()
  }
}

/** Reads one chunk ahead of what is being sent. False: the file has become shorter, or the reader is gone. */
async function sendFile(
  stream: ServerHttp2Stream,
  file: FileHandle,
  offset: number,
  length: number,
  exact: boolean,
): Promise<boolean> {
  const buffers = [Buffer.allocUnsafeSlow(CHUNK_BYTES), Buffer.allocUnsafeSlow(CHUNK_BYTES)] as const
  let sent = 0
  let sending: Promise<boolean> = Promise.resolve(true)
  for (let turn = 0; sent < length; turn++) {
    const buffer = buffers[turn % 2] as Buffer
    const { bytesRead } = await file.read(buffer, 0, Math.min(CHUNK_BYTES, length - sent), offset + sent)
    if (!(await sending)) return false
    if (bytesRead === 0) return !exact
    sent += bytesRead
    sending = write(stream, buffer.subarray(0, bytesRead))
  }
  return sending
}

function write(stream: ServerHttp2Stream, chunk: Buffer): Promise<boolean> {
  if (stream.destroyed) return Promise.resolve(false)
  return new Promise((resolve) => stream.write(chunk, (error) => resolve(!error)))
}

function etagOf(stats: BigIntStats): string {
  return `"${stats.ino}-${stats.size}-${stats.mtimeNs}"`
}

/** JSON that fits into a header. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[^\x20-\x7e]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

function isDirectory(path: Buffer): CoppiceError {
  const name = path.toString('utf8')
  return new CoppiceError('failed_precondition', 'is_a_directory', `${JSON.stringify(name)} is a directory.`, {
    facts: { path: name },
    hint: 'Read a folder as an archive: `coppice cp`.',
  })
}

function changed(path: Buffer): CoppiceError {
  const name = path.toString('utf8')
  return new CoppiceError('conflict', 'file_changed', `${JSON.stringify(name)} has changed since it was first read.`, {
    facts: { path: name },
    hint: 'Read it again from the start.',
  })
}
