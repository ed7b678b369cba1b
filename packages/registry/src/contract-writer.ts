/**
 * A writer of its own process for the contract suite. Arguments: module (exports `openRegistry(place)`), place, kind, id,
 * writer's name, number of updates (0: until it is ended from outside). It says `ready` and begins when it gets a line. After
 * each acknowledged update one line with the writer's count is written to stdout, synchronously, so that a killed writer
 * cannot have been acknowledged more than it said. A given number of updates is begun all at once. It ends with `gone` when
 * the entry is not there.
 */
import { once } from 'node:events'
import { writeSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { CoppiceError } from '@coppice/protocol/wire'
import type { Registry } from './store.ts'

/** The value that writers change: a count per writer, and the sum of them all. */
export interface Tally {
  total: number
  writers: Record<string, number>
  /** Which life of the entry this is, where a test removes it and makes it anew. */
  life?: number
}

const [module = '', place = '', kind = '', id = '', writer = '', count = '0'] = process.argv.slice(2)
const { openRegistry } = (await import(module)) as { openRegistry(place: string): Promise<Registry> }
// It may be killed at any moment from now on, and Node keeps what it has compiled when a process ends in order.
flushCompileCache()
const store = (await openRegistry(place)).kind<Tally>(kind)

let done = 0
const updateOnce = async () => {
  await store.update(id, (tally) => ({
    ...tally,
    total: tally.total + 1,
    writers: { ...tally.writers, [writer]: (tally.writers[writer] ?? 0) + 1 },
  }))
  done += 1
  writeSync(1, `${done}\n`)
}

writeSync(1, 'ready\n')
await once(process.stdin, 'data')
process.stdin.destroy()
try {
  if (count === '0') for (;;) await updateOnce()
  await Promise.all(Array.from({ length: Number(count) }, updateOnce))
} catch (error) {
  if (!(error instanceof CoppiceError) || error.reason !== 'entry_not_found') throw error
  writeSync(1, 'gone\n')
}
