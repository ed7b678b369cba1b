const CAPACITY = 64 * 1024

/** The last 64 KiB of output that passed the gateway for one sandbox: the `lastOutput` of its end record. */
export class LastOutput {
  #ring: Buffer | undefined
  #written = 0

  /** Copies `bytes`; views may be passed. */
  push(bytes: Buffer): void {
    this.#ring ??= Buffer.allocUnsafe(CAPACITY)
    const tail = bytes.length > CAPACITY ? bytes.subarray(bytes.length - CAPACITY) : bytes
    const at = this.#written % CAPACITY
    const first = tail.copy(this.#ring, at)
    if (first < tail.length) tail.copy(this.#ring, 0, first)
    this.#written = at + tail.length + (this.#written >= CAPACITY || at + tail.length >= CAPACITY ? CAPACITY : 0)
  }

  /** As text; what is not UTF-8 is replaced. */
  text(): string {
    if (!this.#ring) return ''
    if (this.#written < CAPACITY) return this.#ring.toString('utf8', 0, this.#written)
    const at = this.#written % CAPACITY
    return Buffer.concat([this.#ring.subarray(at), this.#ring.subarray(0, at)]).toString('utf8')
  }
}
