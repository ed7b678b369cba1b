import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { FileRegistry } from '@coppice/registry'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Directory } from './directory.ts'
import { type SandboxRecord, SandboxRecordSchema } from './record.ts'
import { removedRecord, runningRecord } from './testing/records.ts'

const ENDS = 10_000
const OUTPUT_BYTES = 16 * 1024
const AT_ONCE = 500

/** Measured: 1.3 KiB. */
const MOST_BYTES_PER_END = 4096

let dir: string

// A file system of its own in memory: what is looked at is not the disk.
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-directory-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=512m', 'tmpfs', dir])
})
afterEach(() => {
  execFileSync('umount', [dir])
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
    expect(opened.all()).toHaveLength(ENDS)
    expect((await opened.findWhole(last)).end?.lastOutput).toHaveLength(OUTPUT_BYTES)
  }
})
