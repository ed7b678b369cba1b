import { readFileSync } from 'node:fs'

/** This process's own hard limit of open files: the most that it may give to others without CAP_SYS_RESOURCE. */
export function maxOpenFiles(): number {
  return hardLimit('Max open files')
}

/** This process's own hard limit of processes of its user; never more than there can be PIDs. */
export function maxProcesses(): number {
  return Math.min(hardLimit('Max processes'), Number(readFileSync('/proc/sys/kernel/pid_max', 'utf8')))
}

/** `Number.MAX_SAFE_INTEGER` for none. */
function hardLimit(name: string): number {
  const line = new RegExp(`^${name}\\s+\\S+\\s+(\\S+)`, 'm').exec(readFileSync('/proc/self/limits', 'utf8'))
  return line?.[1] === undefined || line[1] === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(line[1])
}
