import { isAlive, type ProcessIdentity } from '../host/process.ts'
import { SandboxFolder } from './folder.ts'
import { boundInitLog } from './logs.ts'

/** Milliseconds between two looks. One look costs about 10 µs for each sandbox; ends are also found whenever somebody asks. */
export const DEFAULT_POLL_MS = 500

/** Looks between two checks of log sizes. */
const LOG_CHECK_EVERY = 20

/**
 * Notices that inits have gone, without being their parent: sandboxes outlive the process that made them, so there is no wait
 * status to have. One timer for all, and only while somebody listens.
 */
export class Watcher {
  readonly #root: string
  readonly #pollMs: number
  readonly #onGone: (id: string) => Promise<void>
  readonly #onCheck: ((id: string, init: ProcessIdentity) => void) | undefined
  readonly #telling = new Set<string>()
  readonly #running = new Map<string, ProcessIdentity>()
  #timer: NodeJS.Timeout | undefined
  #looks = 0

  /** `onCheck`: told now and then of each that lives. */
  constructor(
    root: string,
    pollMs: number,
    onGone: (id: string) => Promise<void>,
    onCheck?: (id: string, init: ProcessIdentity) => void,
  ) {
    this.#root = root
    this.#pollMs = pollMs
    this.#onGone = onGone
    this.#onCheck = onCheck
  }

  add(id: string, init: ProcessIdentity): void {
    this.#running.set(id, init)
  }

  /** Returns whether it was watched. */
  delete(id: string): boolean {
    return this.#running.delete(id)
  }

  has(id: string): boolean {
    return this.#running.has(id)
  }

  run(): void {
    this.#timer ??= setInterval(() => this.#look(), this.#pollMs).unref()
  }

  pause(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #look(): void {
    this.#looks++
    for (const [id, init] of this.#running) {
      if (!isAlive(init)) void this.#gone(id)
      else if (this.#looks % LOG_CHECK_EVERY === 0) {
        boundInitLog(new SandboxFolder(this.#root, id))
        this.#onCheck?.(id, init)
      }
    }
  }

  async #gone(id: string): Promise<void> {
    if (this.#telling.has(id)) return
    this.#telling.add(id)
    try {
      await this.#onGone(id)
    } catch {
      // Tried again at the next look, and told to whoever asks for this sandbox.
    } finally {
      this.#telling.delete(id)
    }
  }
}
