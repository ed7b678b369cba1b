import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import { openFiles } from '@coppice/limits'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import type { StoreDesk } from '../store/store-desk.ts'
import { Feed } from './feed.ts'
import type { Job } from './job.ts'
import type { JOBS } from './jobs.ts'
import type { FromJob, StartMessage, ToJob } from './messages.ts'

/** Milliseconds without a job after which the thread ends and gives its memory back. */
const IDLE_MS = 10_000

/** Young generation of the thread, MiB: chunks live long enough in a small one, and a large one is only garbage. */
const YOUNG_MIB = 8

type Jobs = typeof JOBS
export type JobName = keyof Jobs
export type JobArgs<Name extends JobName> = Jobs[Name] extends Job<infer Args, unknown> ? Args : never
export type JobResult<Name extends JobName> = Awaited<ReturnType<Jobs[Name]>>

interface Running {
  worker: Worker
  fail: (error: CoppiceError) => void
}

/**
 * The one thread of this process in which much data is read, hashed, unpacked and sent: it starts with its first job and
 * ends when it has had none for a while. The event loop of the process, which answers people, sees of a job only its
 * questions to the store and its progress.
 */
class BulkThread {
  #worker: Worker | undefined
  readonly #running = new Set<Running>()
  #idle: NodeJS.Timeout | undefined

  /**
   * @param desk closed when the job has ended
   * @param input read by this thread and handed over, for jobs that are fed
   */
  async run<Name extends JobName>(
    name: Name,
    args: JobArgs<Name>,
    desk: StoreDesk,
    progress: Progress,
    input?: AsyncIterable<Uint8Array>,
  ): Promise<JobResult<Name>> {
    await openFiles.admit().catch((error: unknown) => {
      desk.close()
      throw error
    })
    progress.throwIfEnded()
    const { port1: port, port2 } = new MessageChannel()
    const outcome = Promise.withResolvers<JobResult<Name>>()
    const send = (message: ToJob) => port.postMessage(message)
    const feed = new Feed(port)
    const stop = () => send({ type: 'abort', error: endOf(progress).toBody() })
    port.on('message', (message: FromJob) => {
      switch (message.type) {
        case 'call':
          void answer(desk, message, send)
          break
        case 'event':
          progress.report(message.event)
          break
        case 'spent':
          feed.spent(message.bytes)
          break
        case 'done':
          outcome.resolve(message.value as JobResult<Name>)
          break
        case 'failed':
          outcome.reject(CoppiceError.fromBody(message.error))
      }
    })
    const running = this.#enter({ name, args, fed: input !== undefined }, port2, outcome.reject)
    progress.signal.addEventListener('abort', stop, { once: true })
    if (input) void feed.run(input)
    try {
      return await outcome.promise
    } finally {
      progress.signal.removeEventListener('abort', stop)
      feed.close()
      port.close()
      desk.close()
      this.#leave(running)
    }
  }

  #enter(start: StartMessage, port: MessagePort, fail: Running['fail']): Running {
    clearTimeout(this.#idle)
    const worker = this.#worker ?? this.#start()
    this.#worker = worker
    const running = { worker, fail }
    this.#running.add(running)
    // Only work keeps the process alive, not the thread's being there.
    worker.ref()
    worker.postMessage({ start, port }, [port])
    return running
  }

  #leave(running: Running): void {
    this.#running.delete(running)
    if (this.#running.size > 0) return
    const worker = this.#worker
    worker?.unref()
    this.#idle = setTimeout(() => {
      if (this.#worker === worker) this.#worker = undefined
      void worker?.terminate()
    }, IDLE_MS).unref()
  }

  #start(): Worker {
    const worker = new Worker(new URL('./bulk-worker.ts', import.meta.url), {
      name: 'coppice-bulk',
      execArgv: [],
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MIB },
    })
    let cause: unknown
    worker.on('error', (error) => {
      cause = error
    })
    worker.on('exit', (code) => {
      if (this.#worker === worker) this.#worker = undefined
      for (const job of this.#running) if (job.worker === worker) job.fail(ended(code, cause))
    })
    return worker
  }
}

/** One for the process: more threads would only compete for the same disk. */
export const bulkThread = new BulkThread()

async function answer(
  desk: StoreDesk,
  { id, method, args }: FromJob & { type: 'call' },
  send: (message: ToJob) => void,
): Promise<void> {
  try {
    const call = desk[method].bind(desk) as (...args: unknown[]) => Promise<unknown>
    send({ type: 'reply', id, value: await call(...args) })
  } catch (error) {
    send({ type: 'refusal', id, error: CoppiceError.from(error).toBody() })
  }
}

function endOf(progress: Progress): CoppiceError {
  try {
    progress.throwIfEnded()
  } catch (error) {
    return CoppiceError.from(error)
  }
  return new CoppiceError('cancelled', 'cancelled', 'The operation was cancelled.')
}

function ended(code: number, cause: unknown): CoppiceError {
  const said = cause instanceof Error ? `: ${cause.message}` : ''
  return new CoppiceError('internal', 'bulk_thread_ended', `The thread that moves images ended with ${code}${said}`, {
    cause,
    retryable: true,
  })
}
