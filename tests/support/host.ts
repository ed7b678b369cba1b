import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** One process of the host, as /proc tells. */
export interface HostProcess {
  pid: number
  /** PID as the process's innermost PID namespace sees it. */
  innerPid: number
  comm: string
  cmdline: string
  pidNamespace: string
}

/** Every process that can be read now. */
export function hostProcesses(): HostProcess[] {
  const found: HostProcess[] = []
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const status = readFileSync(`/proc/${name}/status`, 'utf8')
      const innerPid = Number(/^NSpid:.*?(\d+)$/m.exec(status)?.[1] ?? name)
      found.push({
        pid: Number(name),
        innerPid,
        comm: /^Name:\t(.*)$/m.exec(status)?.[1] ?? '',
        cmdline: readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim(),
        pidNamespace: readlinkSync(`/proc/${name}/ns/pid`),
      })
    } catch {
      // It ended while it was looked at.
    }
  }
  return found
}

/** Processes in the PID namespace of `pid`. */
export function processesWith(pid: number): HostProcess[] {
  const namespace = readlinkSync(`/proc/${pid}/ns/pid`)
  return hostProcesses().filter((process) => process.pidNamespace === namespace)
}

/** Resident memory in bytes. */
export function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
}

/** Memory that only this process has, in bytes. */
export function privateBytes(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  let sum = 0
  for (const [, kib] of text.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB$/gm)) sum += Number(kib) * 1024
  return sum
}

/** Open file descriptors. */
export function openFiles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length
}
