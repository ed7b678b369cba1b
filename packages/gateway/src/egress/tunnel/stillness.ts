/** How long a connection has stood still, by a count that grows whenever something moves on it. */
export class Stillness {
  #moved = -1
  #since = 0

  /** Milliseconds since the count has last been seen to grow; 0 the first time. @param now as `performance.now()` */
  of(moved: number, now: number): number {
    if (moved !== this.#moved) {
      this.#moved = moved
      this.#since = now
    }
    return now - this.#since
  }
}
