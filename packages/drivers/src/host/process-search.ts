import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { identify, type ProcessIdentity, processStat, signalProcess, waitGone } from './process.ts'

const KILL_TIMEOUT_MS = 5000

/** Living processes, not ourselves, that were started with this `NAME=value` in their environment. Reads all of `/proc`: a few ms. */
export function processesWithVariable(variable: string): ProcessIdentity[] {
  return processesWhere((pid) => readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(variable))
}

/** Living processes, not ourselves, that have a file open. Reads all of `/proc` and every descriptor: some 10 ms. */
export function processesWithFile(path: string): ProcessIdentity[] {
  return processesWhere((pid) =>
    readdirSync(`/proc/${pid}/fd`).some((descriptor) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${descriptor}`) === path
      } catch {
        return false
      }
    }),
  )
}

function processesWhere(matches: (pid: number) => boolean): ProcessIdentity[] {
  const found: ProcessIdentity[] = []
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    try {
      const before = identify(pid)
      if (before && !isStartingChild(pid) && matches(pid)) found.push(before)
    } catch {
      // Gone in between, or a kernel thread.
    }
  }
  return found
}

/** Between fork and exec a child of ours looks like ourselves: it has our environment and our files, and is somebody else's work. */
function isStartingChild(pid: number): boolean {
  if (processStat(pid)?.parent !== process.pid) return false
  return readFileSync(`/proc/${pid}/cmdline`, 'latin1') === readFileSync('/proc/self/cmdline', 'latin1')
}

/**
 * Kills every process that has this file open, and waits for their end. Finds a program in the moment between its fork and its
 * exec too, when nothing else tells it from its parent.
 */
export async function killHolders(path: string): Promise<void> {
  for (let found = processesWithFile(path); found.length > 0; found = processesWithFile(path)) {
    for (const holder of found) signalProcess(holder, 'SIGKILL')
    for (const holder of found) {
      if (!(await waitGone(holder, KILL_TIMEOUT_MS))) return
    }
  }
}
