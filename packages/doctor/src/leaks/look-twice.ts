import { setTimeout as delay } from 'node:timers/promises'
import type { CheckContext } from '../check.ts'

/** Longer than a driver takes to give back what a sandbox held that has just ended, milliseconds. */
const SETTLE_MS = 1_500

/** What two looks some time apart both find: a driver gives back mounts and cgroups after it has said that a sandbox ended. */
export async function lookTwice<T extends { path: string }>(
  ctx: Pick<CheckContext, 'progress'>,
  look: () => Promise<T[]>,
): Promise<T[]> {
  const first = await look()
  if (first.length === 0) return []
  await delay(SETTLE_MS, undefined, { signal: ctx.progress.signal })
  const before = new Set(first.map(({ path }) => path))
  return (await look()).filter(({ path }) => before.has(path))
}
