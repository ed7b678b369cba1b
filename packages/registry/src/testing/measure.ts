/**
 * Measures a filled registry in a process that has never seen it. Arguments: its folder, and the user id to read as (0: as
 * who started it). Sends one `Measured`.
 */
import { FileRegistry } from '../file-registry.ts'
import { filledId } from './fill.ts'

/** Milliseconds, and counts. */
export interface Measured {
  /** The first list. */
  listMs: number
  /** The longest time that the event loop was held during it. */
  heldMs: number
  listed: number
  corrupt: number
  unreadable: number
  /** 99 of 100 point reads took no longer than this. */
  readP99Ms: number
}

const READS = 5000

async function measure(place: string): Promise<Measured> {
  const store = (await FileRegistry.open(place)).kind('sandboxes')
  let heldMs = 0
  let last = performance.now()
  let watching = true
  const watch = () => {
    const now = performance.now()
    heldMs = Math.max(heldMs, now - last)
    last = now
    if (watching) setImmediate(watch)
  }
  setImmediate(watch)
  const start = performance.now()
  const { entries, skipped } = await store.list()
  const listMs = performance.now() - start
  watching = false
  const good = entries.map((entry) => entry.id)
  const took: number[] = []
  for (let at = 0; at < READS; at++) {
    const id = good[(at * 7919) % good.length] ?? filledId(0)
    const begin = performance.now()
    await store.get(id)
    took.push(performance.now() - begin)
  }
  took.sort((a, b) => a - b)
  return {
    listMs,
    heldMs,
    listed: good.length,
    corrupt: skipped.filter((file) => file.reason === 'corrupt').length,
    unreadable: skipped.filter((file) => file.reason === 'unreadable').length,
    readP99Ms: took[Math.floor(READS * 0.99)] ?? Number.NaN,
  }
}

const [place = '', uid = '0'] = process.argv.slice(2)
if (uid !== '0') process.seteuid?.(Number(uid))
process.send?.(await measure(place))
process.disconnect?.()
