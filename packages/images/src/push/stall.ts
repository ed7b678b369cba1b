import { CoppiceError } from '@coppice/protocol/wire'

/**
 * Passes chunks on and fails when none comes for `limitMs`. The time that the reader takes for itself does not count: it has a
 * watch of its own.
 *
 * @throws `deadline_exceeded/transfer_stalled`
 */
export async function* watched<T>(chunks: AsyncIterable<T>, limitMs: number, what: string): AsyncGenerator<T> {
  const source = chunks[Symbol.asyncIterator]()
  let ended = false
  try {
    for (;;) {
      const stalled = Promise.withResolvers<never>()
      const timer = setTimeout(() => stalled.reject(stall(limitMs, what)), limitMs)
      try {
        const { done, value } = await Promise.race([source.next(), stalled.promise])
        if (done) {
          ended = true
          return
        }
        yield value
      } finally {
        clearTimeout(timer)
      }
    }
  } finally {
    // A source that hangs would not end either.
    if (!ended) void Promise.resolve(source.return?.()).catch(() => {})
  }
}

function stall(limitMs: number, what: string): CoppiceError {
  const seconds = Math.round(limitMs / 1000)
  return new CoppiceError('deadline_exceeded', 'transfer_stalled', `${what}: nothing came for ${seconds} s.`, {
    retryable: true,
    facts: { stallMs: limitMs },
    hint: 'COPPICE_TRANSFER_STALL_SECS=600',
  })
}
