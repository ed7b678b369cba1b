/**
 * The only writer of one entry, in a process of its own, that goes on until it is killed. Arguments: module (exports
 * `openRegistry(place)`), place, kind, id, first step. Step N is always the same change (`stateAfter`), and its number is
 * written to stdout, synchronously, when it was acknowledged.
 */
import { writeSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import type { Registry } from './store.ts'

/** What an entry holds after a step: its number, and something that would be missed if it were cut off. */
export interface Step {
  step: number
  padding: string
}

/** The entry after step N: absent after each fourth, else of a size that differs from step to step, up to 40 KB. */
export function stateAfter(step: number): Step | undefined {
  return step % 4 === 3 ? undefined : { step, padding: String(step % 10).repeat((step * 7919) % 40_000) }
}

if (process.argv[1] === import.meta.filename) {
  const [module = '', place = '', kind = '', id = '', first = '0'] = process.argv.slice(2)
  const { openRegistry } = (await import(module)) as { openRegistry(place: string): Promise<Registry> }
  // It may be killed at any moment from now on, and Node keeps what it has compiled when a process ends in order.
  flushCompileCache()
  const store = (await openRegistry(place)).kind<Step>(kind)
  for (let step = Number(first); ; step++) {
    const state = stateAfter(step)
    if (state) await store.put(id, state)
    else await store.remove(id)
    writeSync(1, `${step}\n`)
  }
}
