import { CoppiceError, transferStallMs } from '@coppice/protocol/wire'
import { stalled } from '../http/upload.ts'
import { badContext, ContextEntries } from './context-entries.ts'
import { type FileToSync, syncFiles } from './file-sync.ts'
import type { GrpcCall, GrpcConversation } from './grpc-server.ts'

/** What the Dockerfile is called where the engine asks for it, whatever it is called in the context. */
export const DOCKERFILE = 'Dockerfile'

/** Excludes nothing that there is. It tells the two things apart that an engine asks for. */
const IGNORE_FILE: FileToSync = fileOf('.dockerignore', Buffer.from('.coppice-excludes-nothing\n'))

/** Bytes that are held of what is for the builder alone. */
const MAX_HIDDEN_BYTES = 4 * 1024 * 1024

/**
 * A context that the engine asks for over the session, as it asks Docker's command line: the Dockerfile apart, and the folder. It goes
 * through as it comes, once; the engine is not told of its ignore file, which was heeded when the context was made.
 */
export class SyncedContext {
  readonly conversations: Record<string, GrpcConversation> = {
    '/moby.filesync.v1.FileSync/DiffCopy': (call) => this.#serve(call),
  }
  /** What the context itself could not be sent for. */
  failure: CoppiceError | undefined
  /** Aborted with a failure that the engine has no part in: it takes nothing of what it has asked for. */
  readonly stalled: AbortSignal
  readonly #stalled = new AbortController()
  readonly #entries: ContextEntries
  readonly #hidden: number
  #dockerfile: Promise<FileToSync> | undefined
  #sent = false

  /** @param hidden entries in front of the context, of which the first is the Dockerfile */
  constructor(chunks: AsyncIterable<Uint8Array>, hidden: number) {
    this.#entries = new ContextEntries(chunks)
    this.#hidden = hidden
    this.stalled = this.#stalled.signal
  }

  /** Reads what no step has asked for: what was to be sent may turn out to be wrong at its end. */
  async readRest(): Promise<void> {
    await this.#kept(async () => {
      await this.#front()
      await this.#entries.readRest()
    })
  }

  async #serve(call: GrpcCall): Promise<void> {
    const { 'dir-name': dir, 'exclude-patterns': excluded } = call.headers
    if (dir === 'dockerfile') {
      const dockerfile = await this.#kept(() => this.#front())
      return syncFiles(call, [dockerfile])
    }
    if (dir !== 'context') throw new Error('there are a context and a Dockerfile')
    // It asks for the ignore file first, and again for each front end; for the context with the patterns that it found there.
    if (excluded === undefined) return syncFiles(call, [IGNORE_FILE])
    if (this.#sent) throw new Error('the context was sent before')
    this.#sent = true
    await this.#kept(() => this.#front())
    await syncFiles(call, this.#files())
  }

  async *#files(): AsyncGenerator<FileToSync> {
    for (;;) {
      const entry = await this.#kept(() => this.#entries.next())
      if (!entry) return
      // The context itself.
      if (entry.name.length === 0) continue
      // Until it asks for the content. How long the whole of it takes is the source's matter too.
      const timer = this.#watch()
      try {
        yield { entry, content: this.#content(timer) }
      } finally {
        clearTimeout(timer)
      }
    }
  }

  async *#content(asked: NodeJS.Timeout): AsyncGenerator<Buffer> {
    clearTimeout(asked)
    const chunks = this.#entries.content()
    for (;;) {
      const { done, value } = await this.#kept(() => chunks.next())
      if (done) return
      const timer = this.#watch()
      try {
        yield value
      } finally {
        clearTimeout(timer)
      }
    }
  }

  #watch(): NodeJS.Timeout {
    const limit = transferStallMs()
    return setTimeout(() => this.#stalled.abort(this.#failed(stalled(limit))), limit)
  }

  /** Reads the front, once. */
  #front(): Promise<FileToSync> {
    this.#dockerfile ??= this.#readFront()
    return this.#dockerfile
  }

  async #readFront(): Promise<FileToSync> {
    let dockerfile: FileToSync | undefined
    for (let left = this.#hidden; left > 0; ) {
      const entry = await this.#entries.next()
      if (!entry) throw badContext('it ends too early')
      if (entry.name.length === 0) continue
      if (entry.type !== '0' || entry.size > MAX_HIDDEN_BYTES)
        throw badContext('what is in front of it is no Dockerfile')
      left -= 1
      const content = Buffer.concat(await Array.fromAsync(this.#entries.content()))
      dockerfile ??= fileOf(DOCKERFILE, content)
    }
    if (!dockerfile) throw badContext('there is no Dockerfile')
    return dockerfile
  }

  async #kept<T>(reading: () => Promise<T>): Promise<T> {
    try {
      return await reading()
    } catch (cause) {
      throw this.#failed(cause)
    }
  }

  #failed(cause: unknown): CoppiceError {
    this.failure ??= CoppiceError.from(cause)
    return this.failure
  }
}

function fileOf(name: string, content: Buffer): FileToSync {
  const entry = {
    name: Buffer.from(name),
    type: '0',
    mode: 0o644,
    size: content.length,
    mtime: 0,
    link: Buffer.alloc(0),
  }
  return { entry, content: [content] }
}
