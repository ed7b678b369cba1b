import { CoppiceError } from '@coppice/protocol/wire'

/** What a source may do before its first chunk, which can take longer than any other: engines write an export to their own disk first. */
export interface Preparation {
  /** Milliseconds that the first chunk may take in all. */
  limitMs: number
  /** Whether the source still lives, asked each time that the limit of silence is over. */
  alive(): Promise<boolean>
}

const SILENCE = Symbol('silence')

/**
 * Passes chunks on and fails when none comes for `limitMs`. The time that the reader takes for itself does not count: it has a
 * watch of its own.
 *
 * @throws `deadline_exceeded/transfer_stalled`
 */
export async function* watched<T>(
  chunks: AsyncIterable<T>,
  limitMs: number,
  what: string,
  preparation?: Preparation,
): AsyncGenerator<T> {
  const source = chunks[Symbol.asyncIterator]()
  let ended = false
  try {
    for (let first = true; ; first = false) {
      const next = source.next()
      const result = first && preparation ? await prepared(next, limitMs, preparation) : await within(next, limitMs)
      if (result === SILENCE) throw stall(limitMs, what)
      if (result.done) {
        ended = true
        return
      }
      yield result.value
    }
  } finally {
    // A source that hangs would not end either.
    if (!ended) void Promise.resolve(source.return?.()).catch(() => {})
  }
}

async function prepared<T>(work: Promise<T>, limitMs: number, preparation: Preparation): Promise<T | typeof SILENCE> {
  const end = performance.now() + preparation.limitMs
  for (;;) {
    const result = await within(work, limitMs)
    if (result !== SILENCE || performance.now() >= end || !(await preparation.alive())) return result
  }
}

async function within<T>(work: Promise<T>, limitMs: number): Promise<T | typeof SILENCE> {
  const over = Promise.withResolvers<typeof SILENCE>()
  const timer = setTimeout(() => over.resolve(SILENCE), limitMs)
  try {
    return await Promise.race([work, over.promise])
  } finally {
    clearTimeout(timer)
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
