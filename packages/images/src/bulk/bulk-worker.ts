/** The bulk thread: takes jobs until it is ended. Nothing imports this file. */
import { setPriority } from 'node:os'
import { type MessagePort, parentPort } from 'node:worker_threads'
import { CoppiceError, Progress } from '@coppice/protocol/wire'
import type { StorePort } from '../store/store-desk.ts'
import { FedChunks } from './fed-chunks.ts'
import { sweepOften } from './garbage.ts'
import type { Job } from './job.ts'
import { JOBS } from './jobs.ts'
import type { FromJob, StartMessage, ToJob } from './messages.ts'

/** Of this thread alone: what answers people goes first where there are fewer processors than work. */
const NICENESS = 10

sweepOften()
try {
  // On Linux 0 is the calling thread.
  setPriority(0, NICENESS)
} catch {
  // Another system, or none of our business: it works all the same.
}

parentPort?.on('message', ({ start, port }: { start: StartMessage; port: MessagePort }) => {
  void perform(start, port)
})

async function perform({ name, args, fed }: StartMessage, port: MessagePort): Promise<void> {
  const send = (message: FromJob) => port.postMessage(message)
  const abort = new AbortController()
  const chunks = new FedChunks((bytes) => port.postMessage({ type: 'spent', bytes } satisfies FromJob, [bytes]))
  if (!fed) chunks.end()
  const { store, settle } = remoteStore(send)
  port.on('message', (message: ToJob) => {
    switch (message.type) {
      case 'abort':
        abort.abort(CoppiceError.fromBody(message.error))
        break
      case 'reply':
      case 'refusal':
        settle(message)
        break
      case 'chunk':
        chunks.push(Buffer.from(message.bytes, 0, message.length))
        break
      case 'end':
        chunks.end()
        break
      case 'broken':
        chunks.end(CoppiceError.fromBody(message.error))
    }
  })
  const progress = new Progress({ signal: abort.signal, onEvent: (event) => send({ type: 'event', event }) })
  try {
    const job = JOBS[name as keyof typeof JOBS] as Job<unknown, unknown>
    const value = await job(args, { store, input: chunks, progress })
    send({ type: 'done', value })
  } catch (error) {
    send({ type: 'failed', error: CoppiceError.from(error).toBody() })
  } finally {
    port.close()
  }
}

/** The store's methods as calls through the port. */
function remoteStore(send: (message: FromJob) => void): {
  store: StorePort
  settle: (message: ToJob & { type: 'reply' | 'refusal' }) => void
} {
  let last = 0
  const open = new Map<number, PromiseWithResolvers<unknown>>()
  const call = (method: keyof StorePort, ...args: unknown[]): Promise<unknown> => {
    const answer = Promise.withResolvers<unknown>()
    open.set(++last, answer)
    send({ type: 'call', id: last, method, args })
    return answer.promise
  }
  return {
    store: {
      claim: (id, wait) => call('claim', id, wait) as ReturnType<StorePort['claim']>,
      giveUp: (digest) => call('giveUp', digest) as Promise<void>,
      place: (path, id) => call('place', path, id) as Promise<boolean>,
    },
    settle: (message) => {
      const answer = open.get(message.id)
      open.delete(message.id)
      if (message.type === 'reply') answer?.resolve(message.value)
      else answer?.reject(CoppiceError.fromBody(message.error))
    },
  }
}
