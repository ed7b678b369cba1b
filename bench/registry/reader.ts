/**
 * A process that reads random entries, one every 5 ms, until it is told to stop. Arguments: way, folder, number of entries.
 * Sends `ready` when it is warm, and in the end how long each read took, in milliseconds.
 */
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { entryId, WARM_READS } from './creates.ts'
import { openPlace, type Way } from './places.ts'

const [way = '', folder = '', count = '1'] = process.argv.slice(2)
const place = await openPlace(way as Way, folder)
const took: number[] = []
let stopped = false
const told = once(process, 'message').then(() => {
  stopped = true
})
while (!stopped) {
  const start = performance.now()
  await place.get(entryId(Math.floor(Math.random() * Number(count))))
  took.push(performance.now() - start)
  if (took.length === WARM_READS) process.send?.('ready')
  await Promise.race([delay(5), told])
}
process.send?.(took.slice(WARM_READS))
process.disconnect?.()
