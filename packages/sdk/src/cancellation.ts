import { CoppiceError } from '@coppice/protocol/wire'

/** What an aborted call rejects with: the signal's reason when that is a `CoppiceError`, else `cancelled/cancelled`. */
export function abortError(signal: AbortSignal): CoppiceError {
  if (signal.reason instanceof CoppiceError) return signal.reason
  return new CoppiceError('cancelled', 'cancelled', 'The call was cancelled.', { cause: signal.reason })
}

/** @throws `abortError` once `signal` is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError(signal)
}

/** Waits `ms` milliseconds; rejects with `abortError` as soon as `signal` aborts. */
export function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(abortError(signal))
      return
    }
    const onAbort = () => {
      clearTimeout(timer)
      if (signal) reject(abortError(signal))
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    }, ms)
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}
