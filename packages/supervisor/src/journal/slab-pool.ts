/** Bytes of a full slab. */
export const SLAB_BYTES = 64 * 1024

/** Slabs kept for the next output: one journal with all that may be in flight takes 80. */
const MOST_FREE = 96

/** Milliseconds after which slabs that nobody has taken are given back. */
const KEEP_FREE_MS = 5_000

/**
 * Memory that journals write into, used again and again: V8 lets 64 MB and more of dead buffers pile up before it collects
 * them. A slab belongs to one journal at a time; nothing outside the journal ever holds a view on it across a turn of the
 * event loop, except the one disk write that its journal waits for.
 */
export interface Slab {
  readonly bytes: Buffer
  used: number
  /** Records that lie in it. */
  records: number
}

const free: Buffer[] = []
let trim: NodeJS.Timeout | undefined

/** A slab of `size` bytes; only those of `SLAB_BYTES` are used again. */
export function takeSlab(size: number): Slab {
  const known = size === SLAB_BYTES ? free.pop() : undefined
  return { bytes: known ?? Buffer.allocUnsafeSlow(size), used: 0, records: 0 }
}

export function giveSlab(slab: Slab): void {
  if (slab.bytes.length !== SLAB_BYTES || free.length >= MOST_FREE) return
  free.push(slab.bytes)
  if (trim) trim.refresh()
  else trim = setTimeout(() => free.splice(0), KEEP_FREE_MS).unref()
}
