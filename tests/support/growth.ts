import { readFileSync, writeFileSync } from 'node:fs'
import { residentBytes } from './host.ts'

/** Milliseconds between two looks at a process's memory, where the kernel does not keep the peak itself. */
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
  const exact = names.filter((name) => resetPeak(pids[name]))
  const timer = setInterval(() => {
    const now = look()
    for (const name of names) peak[name] = Math.max(peak[name], now[name])
  }, LOOK_MS)
  try {
    await work()
  } finally {
    clearInterval(timer)
  }
  for (const name of exact) peak[name] = Math.max(peak[name], peakBytes(pids[name]))
  return Object.fromEntries(names.map((name) => [name, peak[name] - before[name]])) as Record<Name, number>
}

/** Lets the kernel's peak of a process begin anew. False where that is not allowed. */
export function resetPeak(pid: number): boolean {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, '5')
    return true
  } catch {
    return false
  }
}

/** The most resident memory that a process has had since it began, or since `resetPeak`. Bytes; 0 for one that is gone. */
export function peakBytes(pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}
