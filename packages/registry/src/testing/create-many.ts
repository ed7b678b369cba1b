/**
 * Creates and changes entries, all at once, in a process whose limits were set before. Arguments: the registry's folder, how
 * many entries. Says as JSON how many there are then, and how many are of version 2.
 */
import { FileRegistry } from '../file-registry.ts'

const [place = '', count = '0'] = process.argv.slice(2)
const store = (await FileRegistry.open(place)).kind<{ at: number }>('notes')
const ids = Array.from({ length: Number(count) }, (_, at) => `n${at}`)
await Promise.all(ids.map((id, at) => store.put(id, { at }, { expect: 'absent' })))
await Promise.all(ids.map((id) => store.update(id, ({ at }) => ({ at: at + 1 }))))
const { entries, skipped } = await store.list()
const changed = entries.filter((entry) => entry.version === 2).length
process.stdout.write(JSON.stringify({ entries: entries.length, changed, skipped: skipped.length }))
