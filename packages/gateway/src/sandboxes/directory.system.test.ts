import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { FileRegistry } from '@coppice/registry'
import { filledId, fillKind } from '@coppice/registry/testing'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Directory } from './directory.ts'
import { type SandboxRecord, SandboxRecordSchema } from './record.ts'
import type { Opened } from './testing/open-directory.ts'
import { removedRecord, runningRecord } from './testing/records.ts'

const ENDS = 10_000
const OUTPUT_BYTES = 16 * 1024
const AT_ONCE = 500

/** Measured: 0.4 KiB. */
const MOST_BYTES_PER_END = 800

/** More than are kept by default. */
const MANY_ENDS = 50_000

/** Measured: 16 MiB of heap after opening, 49 MiB resident at the highest. */
const MOST_HEAP_BYTES = 40 * 1024 * 1024
const MOST_RESIDENT_BYTES = 128 * 1024 * 1024

let dir: string

// A file system of its own in memory: what is looked at is not the disk.
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-directory-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=512m', 'tmpfs', dir])
})
afterEach(() => {
  execFileSync('umount', ['--lazy', dir])
  rmSync(dir, { recursive: true })
})

async function open(): Promise<Directory> {
  const registry = await FileRegistry.open(join(dir, 'registry'))
  return Directory.open(registry.kind<SandboxRecord>('sandboxes', (value) => SandboxRecordSchema.parse(value)))
}

/** Bytes of the heap that are in use after everything else was collected. */
function heapUsed(): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  return process.memoryUsage().heapUsed
}

it('10,000 ends cost the memory of their records, not of their output, also after a restart', async () => {
  const directory = await open()
  const idle = heapUsed()
  let last = ''
  for (let at = 0; at < ENDS; at += AT_ONCE) {
    await Promise.all(
      Array.from({ length: AT_ONCE }, async (_, index) => {
        const record = runningRecord()
        await directory.put(record)
        await directory.update(record.id, (current) => removedRecord(current, `${at + index}`.padEnd(OUTPUT_BYTES)))
        last = record.id
      }),
    )
  }
  expect((heapUsed() - idle) / ENDS).toBeLessThan(MOST_BYTES_PER_END)
  const before = heapUsed()
  const again = await open()
  expect((heapUsed() - before) / ENDS).toBeLessThan(MOST_BYTES_PER_END)
  for (const opened of [directory, again]) {
    expect(await opened.all()).toHaveLength(ENDS)
    expect((await opened.findWhole(last)).end?.lastOutput).toHaveLength(OUTPUT_BYTES)
  }
})

it('50,000 ends on the disk are opened in bounded memory, and no more are kept than is configured', async () => {
  const place = join(dir, 'registry')
  const labels = { run: 'x'.repeat(100) }
  fillKind(
    place,
    'sandboxes',
    MANY_ENDS,
    () => 'good',
    (id, at) => ({
      ...removedRecord(runningRecord({ key: `key-${at}`, labels }), `${at}`.padEnd(1024)),
      id,
      removedAt: Date.now() - MANY_ENDS + at,
    }),
  )
  const script = join(import.meta.dirname, 'testing/open-directory.ts')
  const child = fork(script, [place], { execArgv: ['--expose-gc', '--max-semi-space-size=1'] })
  const [opened] = (await once(child, 'message')) as [Opened]
  expect(opened.ends).toBe(MANY_ENDS)
  expect(opened.heapBytes).toBeLessThan(MOST_HEAP_BYTES)
  expect(opened.peakResidentBytes).toBeLessThan(MOST_RESIDENT_BYTES)
  const directory = await open()
  let forgotten = 0
  await directory.forgetEnds({ before: 0, most: MANY_ENDS - 100 }, () => forgotten++)
  expect([directory.endCount, forgotten]).toEqual([MANY_ENDS - 100, 100])
  expect(() => directory.idOf(filledId(0))).toThrow(expect.objectContaining({ reason: 'sandbox_not_found' }))
  expect((await directory.findWhole(filledId(100))).end?.lastOutput).toHaveLength(1024)
})
