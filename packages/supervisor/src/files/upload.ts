import { constants, type Stats } from 'node:fs'
import { type FileHandle, open, rename, stat } from 'node:fs/promises'
import type { ServerHttp2Stream } from 'node:http2'
import { CoppiceError, encodeJsonFrame, FrameType, type UploadState } from '@coppice/protocol/wire'
import { AckSender } from '../session/ack-sender.ts'
import { isCut, requestBody } from '../session/body.ts'
import { FrameStream } from '../session/frame-stream.ts'
import { badQuery } from '../session/query.ts'
import type { Request } from '../session/router.ts'
import { fileError, notAFile, onPath } from './errors.ts'
import { makeFolders, ownerFor } from './ownership.ts'
import { joinPath, requirePath, resolveTarget, splitPath } from './path.ts'
import { requireUploadId, type UploadRecord, type UploadTable } from './uploads.ts'

/** Mode of a new file when the request names none. A file that is replaced keeps its own, and its owner. */
const DEFAULT_MODE = 0o644

/** How the finished file is to be. */
interface Wish {
  readonly path: Buffer
  readonly size: number | undefined
  readonly mode: number | undefined
  readonly user: string | undefined
  readonly defaultUser: string
}

/**
 * `PUT /files/content`: writes a file beside its place and gives it its name when all of it has arrived. A body that is cut
 * off leaves the target untouched and what has arrived for a resume from the acknowledged offset. The same upload again,
 * once it is finished, is a success that changes nothing.
 */
export async function takeUpload(request: Request, uploads: UploadTable, defaultUser: string): Promise<void> {
  const { stream, query } = request
  const upload = requireUploadId(query.text('upload'))
  const wish: Wish = {
    path: requirePath(query.bytes('path')),
    size: query.count('size'),
    mode: parseMode(query.text('mode')),
    user: query.text('user'),
    defaultUser,
  }
  const release = await uploads.claim(upload, () => stream.destroy())
  try {
    const state = await uploads.state(upload)
    const offset = query.count('offset') ?? 0
    if (state.committed) return new FrameStream(request).end(resultFrame(state))
    if (offset > state.acknowledged) throw offsetAhead(state.acknowledged)
    if (query.flag('parents')) {
      const owner = ownerFor(wish.user, defaultUser)
      await onPath(wish.path, () => makeFolders(splitPath(wish.path).dir, 0o755, owner))
    }
    await onPath(wish.path, () => receive(request, uploads, { upload, offset, wish }))
  } finally {
    release()
  }
}

interface Receipt {
  readonly upload: string
  readonly offset: number
  readonly wish: Wish
}

async function receive(request: Request, uploads: UploadTable, receipt: Receipt): Promise<void> {
  const { upload, wish } = receipt
  const { record, file, replaced } = await openRecord(uploads, upload, wish)
  try {
    const frames = new FrameStream(request)
    try {
      const size = await writeBody(request.stream, frames, file, receipt.offset)
      if (size === undefined) return
      if (wish.size !== undefined && size !== wish.size) throw sizeMismatch(size, wish.size)
      await finishFile(file, wish, replaced)
      const { ino } = await file.stat()
      await uploads.save({ ...record, inode: ino, size })
      await rename(Buffer.from(record.temp, 'base64'), Buffer.from(record.target, 'base64'))
      frames.end(resultFrame({ upload, acknowledged: size, committed: true }))
    } catch (error) {
      frames.end(encodeJsonFrame(FrameType.error, 0, fileError(error, wish.path).toBody()))
    }
  } finally {
    await file.close()
  }
}

/** The upload's record and temporary file, made when it is new. */
async function openRecord(
  uploads: UploadTable,
  upload: string,
  wish: Wish,
): Promise<{ record: UploadRecord; file: FileHandle; replaced: Stats | undefined }> {
  const target = await resolveTarget(wish.path)
  const replaced = await stat(target).catch(() => undefined)
  if (replaced && !replaced.isFile()) throw notAFile(target)
  const known = await uploads.record(upload)
  if (known && known.target !== target.toString('base64')) {
    throw new CoppiceError('conflict', 'upload_reused', 'This upload id belongs to another file.', {
      facts: { upload },
    })
  }
  const temp = joinPath(splitPath(target).dir, Buffer.from(`.coppice-upload-${upload}`))
  const record = known ?? { upload, target: target.toString('base64'), temp: temp.toString('base64') }
  if (!known) await uploads.save(record)
  const file = await open(temp, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  return { record, file, replaced }
}

/**
 * Writes what arrives and acknowledges it, bytes that are there already skipped. Resolves to the file's size when the body
 * came to its end, to undefined when it was cut off.
 */
async function writeBody(
  stream: ServerHttp2Stream,
  frames: FrameStream,
  file: FileHandle,
  offset: number,
): Promise<number | undefined> {
  let end = (await file.stat()).size
  let position = offset
  const acks = new AckSender(frames)
  const written = async (chunk: Buffer) => {
    const fresh = chunk.subarray(Math.min(chunk.length, Math.max(0, end - position)))
    position += chunk.length
    if (fresh.length === 0) return
    await writeAt(file, fresh, end)
    end += fresh.length
  }
  try {
    for await (const chunk of requestBody(stream)) {
      await written(chunk)
      acks.send(end)
    }
  } catch (error) {
    if (!isCut(stream)) throw error
  }
  return isCut(stream) ? undefined : end
}

async function writeAt(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done)
    done += bytesWritten
  }
}

async function finishFile(file: FileHandle, wish: Wish, replaced: Stats | undefined): Promise<void> {
  const keepsOwner = replaced !== undefined && wish.user === undefined
  const owner = keepsOwner ? replaced : ownerFor(wish.user, wish.defaultUser)
  if (owner && process.getuid?.() === 0) await file.chown(owner.uid, owner.gid)
  await file.chmod(wish.mode ?? (replaced ? replaced.mode & 0o7777 : DEFAULT_MODE))
}

function parseMode(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (/^[0-7]{1,4}$/.test(text)) return Number.parseInt(text, 8)
  throw badQuery('mode', 'an octal number up to 7777')
}

function resultFrame(state: UploadState): Buffer {
  return encodeJsonFrame(FrameType.result, state.acknowledged, state)
}

function offsetAhead(acknowledged: number): CoppiceError {
  return new CoppiceError('conflict', 'offset_ahead', `Only ${acknowledged} bytes of this upload have arrived.`, {
    facts: { acknowledged },
    hint: 'Send again from the acknowledged offset.',
  })
}

function sizeMismatch(arrived: number, size: number): CoppiceError {
  return new CoppiceError('invalid_argument', 'size_mismatch', `${arrived} bytes arrived, ${size} were announced.`, {
    facts: { acknowledged: arrived, size },
  })
}
