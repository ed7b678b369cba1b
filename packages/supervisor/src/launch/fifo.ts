import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, constants, mkdirSync, openSync, rmSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'

/** FIFOs made by one `mkfifo` call: enough for ten execs, for the price of one process. */
const BATCH = 32

/** The two ends of a FIFO: the reading one for the supervisor (not blocking), the writing one for a program (blocking). */
export interface FifoEnds {
  readonly ours: number
  readonly theirs: number
}

/**
 * FIFOs for the stdio of programs. Node's own pipes are socket pairs, which `open("/dev/stderr")` refuses. They are made in
 * batches, and unlinked as soon as both ends are open.
 */
export class FifoStore {
  readonly #dir: string
  readonly #busybox: string
  #paths: string[] = []
  #next = 0
  #filling: Promise<void> | undefined

  /**
   * `dir` is emptied: what is in it is from an earlier supervisor. A launcher that this one has left finds nothing at its paths: they
   * never come again.
   */
  constructor(dir: string, busybox: string) {
    this.#dir = join(dir, randomBytes(6).toString('hex'))
    this.#busybox = busybox
    rmSync(dir, { recursive: true, force: true, maxRetries: 3 })
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 })
  }

  /** The path of a FIFO that nobody else gets. */
  async take(): Promise<string> {
    for (;;) {
      const path = this.#paths.pop()
      if (path !== undefined) return path
      this.#filling ??= this.#fill().finally(() => {
        this.#filling = undefined
      })
      await this.#filling
    }
  }

  async #fill(): Promise<void> {
    const paths = Array.from({ length: BATCH }, () => join(this.#dir, String(this.#next++)))
    const code = await new Promise<number | null>((resolve, reject) => {
      const child = spawn(this.#busybox, ['mkfifo', '-m', '600', ...paths], { stdio: 'ignore' })
      child.once('error', reject)
      child.once('exit', resolve)
    }).catch((cause) => {
      throw new CoppiceError('resource_exhausted', 'cannot_start_process', 'No process could be started.', { cause })
    })
    if (code !== 0) {
      throw new CoppiceError('resource_exhausted', 'disk_full', 'No FIFO could be made in the state folder.', {
        hint: 'Free some space or inodes in the sandbox.',
      })
    }
    this.#paths.push(...paths.reverse())
  }
}

/** Opens a FIFO that a program writes to. */
export function openOutput(path: string): FifoEnds {
  const ours = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const theirs = openSync(path, constants.O_WRONLY)
  unlinkSync(path)
  return { ours, theirs }
}

/** The writing end of a FIFO whose reader is yet to come. */
export interface AwaitedFifo {
  readonly ours: number
  /** Call it once the reader has opened the path, or never will: from then on writing fails when nobody reads. */
  opened(): void
}

/** Opens a FIFO that a program will open for reading by its path. */
export function openInput(path: string): AwaitedFifo {
  const placeholder = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const ours = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK)
  return {
    ours,
    opened: () => {
      closeSync(placeholder)
      unlinkSync(path)
    },
  }
}
