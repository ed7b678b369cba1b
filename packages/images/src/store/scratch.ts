import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * Places for unfinished work, on the file system of the store so that finished work is renamed out of them. Each process has
 * a folder named by its pid and start time; those of processes that are gone are swept by the next one that opens the store.
 */
export class Scratch {
  readonly dir: string

  /** @param dir a folder of this process, as `open` made it. */
  constructor(dir: string) {
    this.dir = dir
  }

  static async open(root: string): Promise<Scratch> {
    await mkdir(root, { recursive: true, mode: 0o700 })
    for (const name of await readdir(root)) {
      // A child of a process that was killed a moment ago may still be on its way out.
      if (!isAlive(name)) await rm(join(root, name), { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
    }
    const dir = join(root, `${process.pid}-${startTime(process.pid)}`)
    await mkdir(dir, { recursive: true, mode: 0o700 })
    return new Scratch(dir)
  }

  /** A path that nobody uses. Nothing is made there. */
  newPath(): string {
    return join(this.dir, randomBytes(8).toString('hex'))
  }
}

function isAlive(name: string): boolean {
  const [, pid, started] = /^([0-9]+)-([0-9]+)$/.exec(name) ?? []
  return pid !== undefined && startTime(Number(pid)) === started
}

/** When a process started, in clock ticks since boot: tells it from a later one with the same pid. Undefined: no such process. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The program's name stands in parentheses and may hold anything; field 22 is the 20th behind them.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}
