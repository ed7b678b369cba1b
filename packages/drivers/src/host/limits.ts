import { readFileSync } from 'node:fs'

/** This process's own hard limit of open files: the most that it may give to others without CAP_SYS_RESOURCE. */
export function maxOpenFiles(): number {
  const line = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
  return line?.[1] === undefined || line[1] === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(line[1])
}
