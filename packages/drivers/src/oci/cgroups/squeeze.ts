import type { Progress } from '@coppice/protocol/wire'
import { memoryInUse } from '../../lifecycle/refusal.ts'
import { writeSlowly } from './settings.ts'
import { readNumber, writeIfThere } from './tree.ts'

/**
 * Has a group of version 2 give up memory until it uses no more than `bytes`, and keeps it from taking more while `work` is done: a
 * lower `memory.max` by itself is never refused, it kills. `id`: whose group, for the error.
 * Throws `failed_precondition/limits_refused`.
 */
export async function squeezed<T>(
  group: string,
  id: string,
  bytes: number,
  progress: Progress,
  work: () => Promise<T>,
): Promise<T> {
  const lower = bytes < (readNumber(`${group}/memory.max`) ?? Number.POSITIVE_INFINITY)
  try {
    if (lower) await writeSlowly(`${group}/memory.high`, String(bytes), progress)
    const used = readNumber(`${group}/memory.current`)
    if (lower && (used ?? 0) > bytes) throw memoryInUse(id, bytes, used)
    return await work()
  } finally {
    writeIfThere(`${group}/memory.high`, 'max')
  }
}
