import { CoppiceError } from '@coppice/protocol'

interface Waiter<T> {
  resolve(value: T): void
  reject(error: CoppiceError): void
}

/** Calls that wait for one value, each with its own deadline and abort signal. */
export class Waiters<T> {
  readonly #waiting = new Set<Waiter<T>>()

  /** Waits for `resolve` or `reject`; after `ms` fails with `late()`, when `signal` aborts with `cancelled`. */
  wait(ms: number, signal: AbortSignal, late: () => CoppiceError): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const settle = () => {
        this.#waiting.delete(waiter)
        clearTimeout(timer)
        signal.removeEventListener('abort', onAbort)
      }
      const waiter: Waiter<T> = {
        resolve: (value) => {
          settle()
          resolve(value)
        },
        reject: (error) => {
          settle()
          reject(error)
        },
      }
      const onAbort = () => waiter.reject(new CoppiceError('cancelled', 'cancelled', 'The call was cancelled.'))
      const timer = setTimeout(() => waiter.reject(late()), ms)
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiting.add(waiter)
    })
  }

  resolve(value: T): void {
    for (const waiter of [...this.#waiting]) waiter.resolve(value)
  }

  reject(error: CoppiceError): void {
    for (const waiter of [...this.#waiting]) waiter.reject(error)
  }
}
