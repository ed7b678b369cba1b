import { readFileSync } from 'node:fs'

/** Clock ticks of one second in `/proc`: fixed for programs on Linux, whatever the kernel's own rate is. */
const TICKS_PER_SECOND = 100

/** A living process and when it started. */
export interface RunningProcess {
  pid: number
  /** Field 22 of `/proc/PID/stat`: clock ticks after boot. Undefined when this user may not see it. */
  startTicks: number | undefined
}

/** The process, or undefined when there is none. One that has ended and was not collected by its parent is none. */
export function findProcess(pid: number): RunningProcess | undefined {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return undefined
  }
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The second field is a name in parentheses that may hold anything, parentheses and spaces too.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined
    return { pid, startTicks: Number(fields[19]) }
  } catch {
    return { pid, startTicks: undefined }
  }
}

/** When a process started, in every way in which programs write it down. */
export interface StartMoments {
  ticks: number
  /** Seconds after boot. */
  afterBoot: number
  /** Unix time, seconds. */
  unix: number
}

/** @param startTicks of `findProcess` */
export function startMoments(startTicks: number): StartMoments {
  const bootedAt = Number(/^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'latin1'))?.[1])
  const afterBoot = startTicks / TICKS_PER_SECOND
  return { ticks: startTicks, afterBoot, unix: bootedAt + afterBoot }
}

/** The kernel's name for this boot. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
}
