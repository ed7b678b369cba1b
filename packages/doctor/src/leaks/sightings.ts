import { setTimeout as delay } from 'node:timers/promises'

/** Longer than a driver takes to give back what a sandbox held that has just ended, milliseconds. */
export const SETTLE_MS = 1_500

/** After this a sighting says nothing any more: the sandbox may have run and ended again since, milliseconds. */
const FRESH_MS = 5_000

/** What tells the time to looks. */
export interface Clock {
  /** Milliseconds; it never goes back. */
  now(): number
  /** Resolves at `until` at the earliest. Rejects when the signal is aborted. */
  wait(until: number, signal: AbortSignal): Promise<void>
}

const CLOCK: Clock = {
  now: () => performance.now(),
  async wait(until, signal) {
    // A timer may end a little before its time.
    for (let left = until - performance.now(); left > 0; left = until - performance.now()) {
      await delay(Math.ceil(left), undefined, { signal })
    }
  },
}

interface Found {
  path: string
}

interface Subject {
  look: () => Promise<Found[]>
  /** When the last look ended. */
  lookedAt: number
  /** By path: when looks ended that found it, the earliest first, without a look in between that did not. */
  seenAt: Map<string, number[]>
}

/**
 * What the looks of one run have found, and when: a driver gives back mounts and cgroups after it has said that a sandbox ended,
 * so that only what looks some time apart have found counts. The looks of a check and of its repair need one such time, not two.
 */
export class Sightings {
  readonly #clock: Clock
  readonly #subjects = new Map<string, Subject>()

  constructor(clock: Clock = CLOCK) {
    this.#clock = clock
  }

  /**
   * Looks, and returns what it finds that a look some time ago and every one since have found as well. Waits for the time to
   * pass and looks again where something has not been seen for so long yet.
   *
   * @param subject what is looked at; what was seen of one says nothing of another one
   * @throws what `look` throws, and why the signal was aborted
   */
  async twice<T extends Found>(subject: string, look: () => Promise<T[]>, signal: AbortSignal): Promise<T[]> {
    const known = this.#subjects.get(subject) ?? { look, lookedAt: this.#clock.now(), seenAt: new Map() }
    known.look = look
    this.#subjects.set(subject, known)
    this.#forgetOld(known)
    const began = this.#clock.now()
    const found = await this.#look(known, look)
    const due = Math.max(...found.map(({ path }) => settledAt(known, path)))
    if (due <= began) return found
    await this.#lookAtOthers(known)
    await this.#clock.wait(due, signal)
    const again = this.#clock.now()
    return (await this.#look(known, look)).filter(({ path }) => settledAt(known, path) <= again)
  }

  async #look<T extends Found>(subject: Subject, look: () => Promise<T[]>): Promise<T[]> {
    const found = await look()
    const now = this.#clock.now()
    subject.lookedAt = now
    subject.seenAt = new Map(found.map(({ path }) => [path, [...(subject.seenAt.get(path) ?? []), now]]))
    return found
  }

  /** Whoever waits does so for all: what was seen elsewhere and would have to be waited for soon is looked at before. */
  async #lookAtOthers(waiting: Subject): Promise<void> {
    const recent = this.#clock.now() - SETTLE_MS
    const others = [...this.#subjects.values()].filter(
      (one) => one !== waiting && one.seenAt.size > 0 && one.lookedAt < recent,
    )
    // What fails is told to those who ask for it: they look themselves.
    await Promise.allSettled(
      others.map(async (one) => {
        this.#forgetOld(one)
        await this.#look(one, one.look)
      }),
    )
  }

  #forgetOld(subject: Subject): void {
    const oldest = this.#clock.now() - FRESH_MS
    for (const [path, times] of subject.seenAt) {
      subject.seenAt.set(
        path,
        times.filter((time) => time >= oldest),
      )
    }
  }
}

/** From when on a look that finds it is the second one. */
function settledAt({ seenAt }: Subject, path: string): number {
  return (seenAt.get(path)?.[0] ?? Number.POSITIVE_INFINITY) + SETTLE_MS
}
