import { Progress, type ProgressEvent } from '@coppice/protocol/wire'

/**
 * Works on items, at most `limit` at a time. After the first failure the others are ended; it is thrown when all of them
 * have.
 */
export async function inParallel<Item>(
  items: Item[],
  limit: number,
  progress: Progress,
  work: (item: Item, progress: Progress) => Promise<void>,
): Promise<void> {
  const abort = new AbortController()
  const narrowed = new Progress({
    signal: AbortSignal.any([progress.signal, abort.signal]),
    onEvent: (event: ProgressEvent) => progress.report(event),
  })
  const left = items.values()
  const failures: unknown[] = []
  const worker = async () => {
    for (const item of left) {
      try {
        await work(item, narrowed)
      } catch (error) {
        failures.push(error)
        abort.abort()
        return
      }
    }
  }
  await Promise.all(Array.from({ length: Math.max(1, Math.min(limit, items.length)) }, worker))
  progress.throwIfEnded()
  if (failures.length > 0) throw failures[0]
}
