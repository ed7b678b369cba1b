/**
 * A writer of its own process for the contract suite. Arguments: module (exports `openRegistry(place)`), place, kind, id,
 * writer's name, number of updates (0: until killed). After each acknowledged update one line with the writer's count is
 * written to stdout, synchronously, so that a killed writer cannot have been acknowledged more than it said.
 */
import { writeSync } from 'node:fs'
import type { Registry } from './store.ts'

/** The value that writers change: a count per writer, and the sum of them all. */
export interface Tally {
  total: number
  writers: Record<string, number>
}

const [module = '', place = '', kind = '', id = '', writer = '', count = '0'] = process.argv.slice(2)
const { openRegistry } = (await import(module)) as { openRegistry(place: string): Promise<Registry> }
const store = (await openRegistry(place)).kind<Tally>(kind)
writeSync(1, 'ready\n')
for (let done = 1; count === '0' || done <= Number(count); done++) {
  await store.update(id, (tally) => ({
    total: tally.total + 1,
    writers: { ...tally.writers, [writer]: (tally.writers[writer] ?? 0) + 1 },
  }))
  writeSync(1, `${done}\n`)
}
