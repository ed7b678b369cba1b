import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { sendSignal } from './processes.ts'

/** Milliseconds between two looks at something that is about to change; the second figure when it takes its time. */
const POLL_MS = 2
const SLOWEST_POLL_MS = 50

/** Milliseconds for a freezer to stop its processes. One in an uninterruptible wait can take longer: then it is tried again. */
export const FREEZE_LIMIT_MS = 200

/** Pids in a `cgroup.procs` file as this PID namespace sees them; 0 (a process outside of it) is left out. */
export function readPids(procsFile: string): number[] {
  try {
    const pids = readFileSync(procsFile, 'latin1').split('\n').map(Number)
    return pids.filter((pid) => pid > 0)
  } catch {
    return []
  }
}

/** A number from a file of `name value` lines; 0 when it is not there. */
export function readCounter(file: string, name: string): number {
  try {
    const line = readFileSync(file, 'latin1')
      .split('\n')
      .find((text) => text.startsWith(`${name} `))
    return Number.parseInt(line?.slice(name.length + 1) ?? '0', 10)
  } catch {
    return 0
  }
}

/** Waits until `condition` holds or `limitMs` have passed; tells whether it holds. */
export async function until(condition: () => boolean, limitMs: number): Promise<boolean> {
  const deadline = performance.now() + limitMs
  for (let pollMs = POLL_MS; !condition(); pollMs = Math.min(pollMs * 1.5, SLOWEST_POLL_MS)) {
    const leftMs = deadline - performance.now()
    if (leftMs <= 0) return false
    await sleep(Math.min(pollMs, leftMs))
  }
  return true
}

export function signalPids(pids: readonly number[], signal: number): void {
  for (const pid of pids) sendSignal(pid, signal)
}

export function writeControl(file: string, value: string): void {
  writeFileSync(file, value)
}

export function makeGroup(dir: string): void {
  mkdirSync(dir, { mode: 0o755 })
}

/** Removes a cgroup; false while something lives in it. One that is gone already is a success. */
export function removeGroup(dir: string): boolean {
  try {
    rmdirSync(dir)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
  }
}

/** Names of the cgroups directly in `dir`. */
export function listGroups(dir: string): string[] {
  try {
    return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))
  } catch {
    return []
  }
}
