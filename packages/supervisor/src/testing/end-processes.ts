import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * SIGKILL for every process that names something in a folder or has something in it open, again and again until there is none:
 * execs, their children, and launchers that wait for one. Throws when they do not end.
 */
export async function endProcessesOf(folder: string): Promise<void> {
  for (let round = 0; round < 500; round++) {
    const found = processesOf(`${folder}/`)
    if (found.length === 0) return
    for (const pid of found) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // Gone in between.
      }
    }
    await sleep(10)
  }
  throw new Error(`processes of ${folder} do not end`)
}

/** Pids of those that name this path or have something in it open, this process not. */
export function processesOf(path: string): number[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return []
    try {
      const names = readFileSync(`/proc/${name}/cmdline`, 'latin1').includes(path)
      return names || opened(name).some((file) => file.startsWith(path)) ? [Number(name)] : []
    } catch {
      return []
    }
  })
}

function opened(pid: string): string[] {
  return readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`)
    } catch {
      return ''
    }
  })
}
