import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openPlace, type Way } from './places.ts'

const READERS = 8

/** Reads after which a reader runs at its full speed. */
export const WARM_READS = 50

/** The id of entry number `at`. */
export function entryId(at: number): string {
  return `sb-${at}`
}

/** What came of it. */
export interface Creates {
  perSecond: number
  /** How long each read took that was done beside the creates, milliseconds. */
  readsMs: number[]
}

/** Creates `count` entries of about 700 bytes, all begun at once, while 8 processes read. */
export async function createsBesideReaders(way: Way, count: number): Promise<Creates> {
  const folder = await mkdtemp(join(tmpdir(), `coppice-bench-${way}-`))
  const readers: ChildProcess[] = []
  try {
    const place = await openPlace(way, folder)
    const script = new URL('./reader.ts', import.meta.url).pathname
    for (let at = 0; at < READERS; at++) readers.push(fork(script, [way, folder, String(count)]))
    await Promise.all(readers.map((reader) => once(reader, 'message')))
    const value = { image: `sha256:${'5'.repeat(64)}`, state: 'creating', labels: {}, note: 'x'.repeat(500) }
    const start = performance.now()
    await Promise.all(Array.from({ length: count }, (_, at) => place.create(entryId(at), value)))
    const elapsed = performance.now() - start
    const reads = readers.map(async (reader) => {
      const told = once(reader, 'message')
      reader.send('stop')
      return ((await told) as [number[]])[0]
    })
    const readsMs = (await Promise.all(reads)).flat()
    for (let at = 0; at < count; at++) {
      if (!(await place.get(entryId(at)))) throw new Error(`${way}: entry ${at} was lost`)
    }
    return { perSecond: (count / elapsed) * 1000, readsMs }
  } finally {
    for (const reader of readers) reader.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true })
  }
}
