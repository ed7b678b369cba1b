import type { Identity } from './identity.ts'
import type { Launched } from './launched.ts'
import { type LauncherDeps, startLauncher } from './launcher.ts'

/** Launchers kept ready. Entering a cgroup costs about 8 ms when it is done now and then; these have done it. */
const WARM = 3

/** Starting a process holds the event loop for 1 to 2 ms: later, so that a short exec's end is not behind it. */
const REFILL_AFTER_MS = 4

/**
 * Hands out launchers, ready ones where it has them: one from the start, more after the first use, for the user who ran
 * last. A sandbox that runs nothing keeps one shell of 0.1 MiB.
 */
export class LauncherPool {
  readonly #deps: LauncherDeps
  #identity: { key: string; value: Identity | undefined } | undefined
  #warm: Launched[] = []
  #prepared: Promise<void> | undefined
  #refilling: NodeJS.Timeout | undefined
  #closed = false

  constructor(deps: LauncherDeps) {
    this.#deps = deps
  }

  /** Starts a launcher before it is needed: the first exec of a new sandbox takes it, or waits for it. */
  prepare(identity: Identity | undefined): void {
    if (this.#identity) return
    const key = keyOf(identity)
    this.#identity = { key, value: identity }
    this.#prepared = startLauncher(this.#deps, identity).then(
      (launched) => {
        if (this.#closed || this.#identity?.key !== key) launched.dispose()
        else this.#keep(launched)
      },
      // The next exec starts its own launcher and reports what is wrong.
      () => {},
    )
  }

  /** A launcher for `identity`; undefined is the supervisor's own. Throws what `startLauncher` throws. */
  async take(identity: Identity | undefined): Promise<Launched> {
    const key = keyOf(identity)
    if (this.#identity?.key !== key) this.#empty()
    this.#identity = { key, value: identity }
    const prepared = this.#prepared
    this.#prepared = undefined
    if (prepared) await prepared
    const launched = this.#warm.shift() ?? (await startLauncher(this.#deps, identity))
    this.#refilling ??= setTimeout(() => void this.#refill(), REFILL_AFTER_MS)
    return launched
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#refilling)
    this.#empty()
  }

  #empty(): void {
    for (const launched of this.#warm.splice(0)) launched.dispose()
  }

  async #refill(): Promise<void> {
    try {
      while (this.#warm.length < WARM && !this.#closed && this.#identity) {
        const { key, value } = this.#identity
        const launched = await startLauncher(this.#deps, value)
        if (this.#closed || this.#identity.key !== key) launched.dispose()
        else this.#keep(launched)
      }
    } catch {
      // The next exec starts its own launcher and reports what is wrong.
    } finally {
      this.#refilling = undefined
    }
  }

  #keep(launched: Launched): void {
    this.#warm.push(launched)
    void launched.exited.then(() => {
      const at = this.#warm.indexOf(launched)
      if (at < 0) return
      this.#warm.splice(at, 1)
      launched.dispose()
    })
  }
}

function keyOf(identity: Identity | undefined): string {
  return identity ? `${identity.uid}:${identity.gid}:${identity.groups.join()}` : ''
}
