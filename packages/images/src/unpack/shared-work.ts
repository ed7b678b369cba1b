import { Progress, type ProgressEvent } from '@coppice/protocol/wire'

interface Job<T> {
  result: Promise<T>
  listeners: Set<Progress>
  abort: AbortController
}

/**
 * Work that several callers want at the same time is done once. Everybody sees its events; it is aborted only when the last
 * one who waits for it has given up.
 */
export class SharedWork<T> {
  readonly #jobs = new Map<string, Job<T>>()

  async run(key: string, work: (progress: Progress) => Promise<T>, progress: Progress): Promise<T> {
    progress.throwIfEnded()
    const job = this.#jobs.get(key) ?? this.#start(key, work)
    job.listeners.add(progress)
    try {
      return await progress.race(job.result)
    } finally {
      job.listeners.delete(progress)
      if (job.listeners.size === 0) {
        // Nobody may join work that is being given up.
        if (this.#jobs.get(key) === job) this.#jobs.delete(key)
        job.abort.abort()
      }
    }
  }

  #start(key: string, work: (progress: Progress) => Promise<T>): Job<T> {
    const abort = new AbortController()
    const listeners = new Set<Progress>()
    const onEvent = (event: ProgressEvent) => {
      for (const listener of listeners) listener.report(event)
    }
    const result = work(new Progress({ signal: abort.signal, onEvent }))
    const job: Job<T> = { result, listeners, abort }
    this.#jobs.set(key, job)
    const forget = () => {
      if (this.#jobs.get(key) === job) this.#jobs.delete(key)
    }
    result.then(forget, forget)
    return job
  }
}
