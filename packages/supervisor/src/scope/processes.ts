import { readdirSync, readFileSync } from 'node:fs'

/** One process as `/proc/PID/stat` tells it. */
export interface ProcessStat {
  readonly pid: number
  readonly state: string
  readonly parent: number
  readonly group: number
  readonly session: number
  /** Clock ticks after boot; with the pid it names a process for ever. */
  readonly startTime: number
}

/** Reads one process; undefined when it is gone. The name may hold spaces and brackets: fields count from the last `)`. */
export function readProcess(pid: number): ProcessStat | undefined {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch {
    return undefined
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const number = (index: number) => Number.parseInt(fields[index] ?? '', 10)
  const stat = {
    pid,
    state: fields[0] ?? '?',
    parent: number(1),
    group: number(2),
    session: number(3),
    startTime: number(19),
  }
  return Number.isNaN(stat.startTime) ? undefined : stat
}

/** Every process that can be seen. */
export function readProcesses(): ProcessStat[] {
  const found: ProcessStat[] = []
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = readProcess(Number.parseInt(name, 10))
    if (stat) found.push(stat)
  }
  return found
}

/** `root`'s children, their children and so on; zombies included, `root` not. */
export function descendants(root: number, processes: readonly ProcessStat[] = readProcesses()): ProcessStat[] {
  const children = new Map<number, ProcessStat[]>()
  for (const stat of processes) {
    const siblings = children.get(stat.parent)
    if (siblings) siblings.push(stat)
    else children.set(stat.parent, [stat])
  }
  const found: ProcessStat[] = []
  const look = [root]
  for (let pid = look.pop(); pid !== undefined; pid = look.pop()) {
    for (const child of children.get(pid) ?? []) {
      found.push(child)
      look.push(child.pid)
    }
  }
  return found
}

/** True for a process that still runs or waits: not gone, not a zombie. */
export function isAlive(stat: ProcessStat): boolean {
  return stat.state !== 'Z' && stat.state !== 'X'
}

/**
 * Sends a signal and tells whether somebody was there to get it. A negative pid is a process group. 0 and -1, which would mean
 * the supervisor's own group and everybody, are nobody.
 */
export function sendSignal(pid: number, signal: number): boolean {
  if (pid === 0 || pid === -1) return false
  try {
    process.kill(pid, signal)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}
