import type { EgressCounts } from '@coppice/protocol'

/** Counts of one sandbox, what is open excepted: that is asked of the connections themselves. */
export class Counts {
  connections = 0
  denied = 0
  failed = 0
  #bytesOut = 0
  #bytesIn = 0

  /** A connection is over. */
  add(bytes: { bytesOut: number; bytesIn: number }): void {
    this.#bytesOut += bytes.bytesOut
    this.#bytesIn += bytes.bytesIn
  }

  with(open: number, live: Iterable<{ bytesOut: number; bytesIn: number }>): EgressCounts {
    let bytesOut = this.#bytesOut
    let bytesIn = this.#bytesIn
    for (const one of live) {
      bytesOut += one.bytesOut
      bytesIn += one.bytesIn
    }
    const { connections, denied, failed } = this
    return { open, connections, denied, failed, bytesOut, bytesIn }
  }
}
