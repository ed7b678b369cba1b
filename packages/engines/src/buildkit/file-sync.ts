import type { ContextEntry } from './context-entries.ts'
import type { GrpcCall } from './grpc-server.ts'
import { bytesOf, numberOf, readFields, writeField } from './protobuf.ts'

/** A file that is sent, or what else a folder holds. */
export interface FileToSync {
  entry: ContextEntry
  /** Of a file; read once, before the next one is asked for. */
  content: AsyncIterable<Buffer> | Iterable<Buffer>
}

/** `PacketType` of the protocol. */
const STAT = 0
const REQUEST = 1
const DATA = 2
const FINISHED = 3
const ERROR = 4

/** Bytes of content in one message. */
const DATA_BYTES = 64 * 1024

/** Go's bits of a file's kind, by the type of its entry, and those beside its permissions. */
const KINDS: Readonly<Record<string, number>> = { '2': 2 ** 27, '5': 2 ** 31, '6': 2 ** 25 }
const MODE_BITS = [
  [0o4000, 2 ** 23],
  [0o2000, 2 ** 22],
  [0o1000, 2 ** 20],
] as const

/**
 * Sends files by BuildKit's `FileSync/DiffCopy`, in the order of a walk, each when it was asked for: a receiver that has nothing asks for every
 * one as soon as it has heard of it. Nothing is held, so a source that can be read once will do.
 */
export async function syncFiles(
  call: GrpcCall,
  files: AsyncIterable<FileToSync> | Iterable<FileToSync>,
): Promise<void> {
  const requests = new Requests(call)
  const heard = requests.listen()
  heard.catch(() => {})
  let id = 0
  for await (const { entry, content } of files) {
    // An empty file may be asked for or not.
    if (entry.type === '0' && entry.size === 0) requests.empty.add(id)
    await call.send(packet(STAT, { stat: statOf(entry) }))
    if (entry.type === '0' && entry.size > 0) {
      await requests.until(id)
      for await (const chunk of content)
        for (let at = 0; at < chunk.length; at += DATA_BYTES)
          await call.send(packet(DATA, { id, data: chunk.subarray(at, at + DATA_BYTES) }))
      await call.send(packet(DATA, { id }))
    }
    id += 1
  }
  await call.send(packet(STAT))
  await heard
  await call.send(packet(FINISHED))
}

/** What the receiver asks for, until it has all. */
class Requests {
  readonly empty = new Set<number>()
  readonly #call: GrpcCall
  #wanted: { id: number; resolve: () => void; reject: (cause: unknown) => void } | undefined
  #asked = new Set<number>()
  #failure: unknown

  constructor(call: GrpcCall) {
    this.#call = call
  }

  async listen(): Promise<void> {
    try {
      for await (const message of this.#call.messages) {
        const { type, id, data } = readPacket(message)
        if (type === FINISHED) return
        if (type === ERROR) throw new Error(`the receiver failed: ${data.toString('utf8').slice(0, 500)}`)
        if (type !== REQUEST) continue
        if (this.empty.delete(id)) await this.#call.send(packet(DATA, { id }))
        else if (this.#wanted?.id === id) this.#wanted.resolve()
        else this.#asked = new Set([id])
      }
      throw new Error('the receiver has gone')
    } catch (cause) {
      this.#failure = cause
      this.#wanted?.reject(cause)
      throw cause
    }
  }

  /** Resolves when this file was asked for. */
  async until(id: number): Promise<void> {
    if (this.#failure) throw this.#failure
    if (this.#asked.delete(id)) return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#wanted = { id, resolve, reject }
    await promise
    this.#wanted = undefined
  }
}

function packet(type: number, { stat, id, data }: { stat?: Buffer; id?: number; data?: Buffer } = {}): Buffer {
  return Buffer.concat([
    type === STAT ? Buffer.alloc(0) : writeField(1, type),
    stat ? writeField(2, stat) : Buffer.alloc(0),
    id ? writeField(3, id) : Buffer.alloc(0),
    data ? writeField(4, data) : Buffer.alloc(0),
  ])
}

function readPacket(message: Buffer): { type: number; id: number; data: Buffer } {
  const read = { type: STAT, id: 0, data: Buffer.alloc(0) }
  for (const field of readFields(message)) {
    if (field.number === 1) read.type = numberOf(field)
    else if (field.number === 3) read.id = numberOf(field)
    else if (field.number === 4) read.data = Buffer.from(bytesOf(field))
  }
  return read
}

/** `fsutil.types.Stat`. Owners are root, as in a context that is sent whole. */
function statOf({ name, type, mode, size, mtime, link }: ContextEntry): Buffer {
  let bits = (mode & 0o777) + (KINDS[type] ?? 0)
  for (const [bit, go] of MODE_BITS) if (mode & bit) bits += go
  const fields = [writeField(1, name), writeField(2, bits)]
  if (size > 0) fields.push(writeField(5, size))
  if (mtime > 0) fields.push(writeField(6, BigInt(Math.floor(mtime)) * 1_000_000_000n))
  if (type === '1') fields.push(writeField(7, withoutDot(link)))
  else if (type === '2') fields.push(writeField(7, link))
  return Buffer.concat(fields)
}

/** A hard link names a file of the context. */
function withoutDot(link: Buffer): Buffer {
  return link.subarray(0, 2).toString() === './' ? link.subarray(2) : link
}
