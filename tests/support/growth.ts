import { residentBytes } from './host.ts'

/** Milliseconds between two looks at a process's memory. */
const LOOK_MS = 50

/** The most resident memory that each process had while `work` went on, above what it had before. Bytes. */
export async function growthOf<Name extends string>(
  pids: Record<Name, number>,
  work: () => Promise<void>,
): Promise<Record<Name, number>> {
  const names = Object.keys(pids) as Name[]
  const look = () => Object.fromEntries(names.map((name) => [name, residentBytes(pids[name])])) as Record<Name, number>
  const before = look()
  const peak = { ...before }
  const timer = setInterval(() => {
    const now = look()
    for (const name of names) peak[name] = Math.max(peak[name], now[name])
  }, LOOK_MS)
  try {
    await work()
  } finally {
    clearInterval(timer)
  }
  return Object.fromEntries(names.map((name) => [name, peak[name] - before[name]])) as Record<Name, number>
}
