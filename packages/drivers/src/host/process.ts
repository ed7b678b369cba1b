import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** A process that cannot be mistaken for a later one with the same PID. */
export interface ProcessIdentity {
  pid: number
  /** Field 22 of `/proc/PID/stat`: clock ticks after boot at which it started. */
  startTicks: number
}

/** One line of `/proc/PID/stat`. */
export interface ProcessStat extends ProcessIdentity {
  state: string
  parent: number
}

/** What the kernel says about a PID now, or undefined when there is no such process. Takes about 10 µs. */
export function processStat(pid: number): ProcessStat | undefined {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch {
    return undefined
  }
  // The second field is a name in parentheses that may hold anything, parentheses and spaces too.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return { pid, state: fields[0] ?? '', parent: Number(fields[1]), startTicks: Number(fields[19]) }
}

/** The identity of a living process, or undefined. */
export function identify(pid: number): ProcessIdentity | undefined {
  const stat = processStat(pid)
  return stat && !isDead(stat) ? { pid, startTicks: stat.startTicks } : undefined
}

let own: ProcessIdentity | undefined

/** This process. */
export function ownIdentity(): ProcessIdentity {
  own ??= identify(process.pid)
  return own ?? { pid: process.pid, startTicks: 0 }
}

/** False for a zombie too: nothing of it runs, only its parent has not looked yet. */
export function isAlive(process: ProcessIdentity): boolean {
  const stat = processStat(process.pid)
  return stat !== undefined && stat.startTicks === process.startTicks && !isDead(stat)
}

function isDead(stat: ProcessStat): boolean {
  return stat.state === 'Z' || stat.state === 'X'
}

/** Sends a signal when that very process still lives. Returns whether it was sent. */
export function signalProcess(target: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(target)) return false
  try {
    process.kill(target.pid, signal)
    return true
  } catch {
    return false
  }
}

/** Waits until the process is gone. Returns false when it is still there after `timeoutMs` or after `signal` was aborted. */
export async function waitGone(target: ProcessIdentity, timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
  const deadline = performance.now() + timeoutMs
  let pauseMs = 1
  while (isAlive(target)) {
    if (performance.now() >= deadline || signal?.aborted) return false
    await sleep(pauseMs)
    pauseMs = Math.min(pauseMs * 1.5, 50)
  }
  return true
}
