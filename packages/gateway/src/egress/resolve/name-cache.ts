/** Names kept. At about 300 bytes each, all sandboxes together. */
const MAX_NAMES = 4096

interface Kept<T> {
  value: T
  until: number
}

/** A small cache in front of questions that take time: the same question that is under way is not asked twice. */
export class NameCache<T> {
  readonly #max: number
  readonly #kept = new Map<string, Kept<T>>()
  readonly #asked = new Map<string, Promise<T>>()

  constructor(max = MAX_NAMES) {
    this.#max = max
  }

  /** @param ask must not reject. */
  get(name: string, ask: () => Promise<{ value: T; seconds: number }>): Promise<T> {
    const kept = this.#kept.get(name)
    if (kept && kept.until > performance.now()) return Promise.resolve(kept.value)
    this.#kept.delete(name)
    const asked = this.#asked.get(name)
    if (asked) return asked
    const answer = ask().then(({ value, seconds }) => {
      this.#asked.delete(name)
      this.#keep(name, { value, until: performance.now() + seconds * 1000 })
      return value
    })
    this.#asked.set(name, answer)
    return answer
  }

  #keep(name: string, entry: Kept<T>): void {
    this.#kept.set(name, entry)
    // The oldest: entries live for seconds, so what is used most is asked again soon anyway.
    const [oldest] = this.#kept.keys()
    if (this.#kept.size > this.#max && oldest !== undefined) this.#kept.delete(oldest)
  }
}
