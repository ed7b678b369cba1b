import { setTimeout as sleep } from 'node:timers/promises'

/** Waits until `look` gives something true, and gives that; fails after `limitMs`. */
export async function eventually<T>(look: () => T | Promise<T>, limitMs = 30_000): Promise<T> {
  const deadline = performance.now() + limitMs
  for (;;) {
    const found = await look()
    if (found) return found
    if (performance.now() > deadline) throw new Error(`nothing came within ${limitMs} ms: ${look}`)
    await sleep(10)
  }
}
