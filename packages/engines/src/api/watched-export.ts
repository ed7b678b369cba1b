import { CoppiceError, Progress, transferStallMs } from '@coppice/protocol/wire'
import type { Dialect } from '../dialect.ts'

/** Bytes a second with which an engine is granted to prepare an export; Docker does 150 MB/s on a busy disk. */
const PREPARED_PER_SECOND = 5_000_000

/** An engine that exports, as it is asked on another connection. */
export interface Exporter {
  dialect: Dialect
  /** A sign of life; throws where none comes. */
  ping(progress: Progress): Promise<unknown>
  /** Bytes of what it exports. */
  size(progress: Progress): Promise<number>
}

/**
 * Passes an export on, and gives it up when nothing comes for `COPPICE_TRANSFER_STALL_SECS`. Before the first byte, while the engine
 * writes the archive to its own disk and can say nothing, it has a second more for each 5 MB as long as it answers elsewhere. The
 * time that the reader takes for itself does not count.
 *
 * @param open begins the export, which hangs up when its progress ends
 * @throws `deadline_exceeded/transfer_stalled`
 */
export async function* watchedExport<T>(
  open: (progress: Progress) => AsyncGenerator<T>,
  exporter: Exporter,
  progress: Progress,
): AsyncGenerator<T> {
  const limitMs = transferStallMs()
  const over = new AbortController()
  const own = new Progress({ signal: AbortSignal.any([progress.signal, over.signal]) })
  const source = open(own)
  const begun = performance.now()
  let grantedMs: number | undefined
  const prepares = async (): Promise<boolean> => {
    try {
      await exporter.ping(own)
      grantedMs ??= limitMs + ((await exporter.size(own)) / PREPARED_PER_SECOND) * 1000
      return performance.now() - begun < grantedMs
    } catch {
      return false
    }
  }
  try {
    for (let first = true; ; first = false) {
      const next = source.next()
      while (await isSilent(next, limitMs)) {
        if (first && (await prepares())) continue
        progress.throwIfEnded()
        throw stalled(limitMs, exporter.dialect)
      }
      const result = await next
      if (result.done) return
      yield result.value
    }
  } finally {
    over.abort()
    // Not awaited: it would wait for the byte that does not come.
    void source.return(undefined).catch(() => {})
  }
}

/** Whether work is not done after `limitMs`. What it fails with is told by the work itself. */
async function isSilent(work: Promise<unknown>, limitMs: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const timer = setTimeout(resolve, limitMs, true)
  const done = () => false
  try {
    return await Promise.race([work.then(done, done), promise])
  } finally {
    clearTimeout(timer)
  }
}

function stalled(limitMs: number, { title, kind }: Dialect): CoppiceError {
  const seconds = Math.round(limitMs / 1000)
  return new CoppiceError(
    'deadline_exceeded',
    'transfer_stalled',
    `The export of ${title}: nothing came for ${seconds} s.`,
    { retryable: true, facts: { stallMs: limitMs, engine: kind }, hint: 'COPPICE_TRANSFER_STALL_SECS=600' },
  )
}
