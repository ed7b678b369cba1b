import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readAll } from '../testing/journal-reading.ts'
import { Journal, type JournalOptions, MAX_IN_FLIGHT_BYTES } from './journal.ts'
import { JournalReader } from './reader.ts'
import { salvageJournal } from './salvage.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'journal-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const options = (more: Partial<JournalOptions> = {}): JournalOptions => ({
  dir: join(dir, 'j'),
  memoryBytes: 256 * 1024,
  diskBytes: 1024 * 1024 * 1024,
  ...more,
})

/** Bytes that say where they are: any hole, repeat or mix-up shows. */
function pattern(from: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  for (let at = 0; at < length; at++) bytes[at] = ((from + at) * 31 + ((from + at) >> 8) * 7) & 0xff
  return bytes
}

/** Writes as a program would whose pipe is not read while the journal is congested. */
async function write(journal: Journal, total: number, chunkBytes: number): Promise<void> {
  for (let at = 0; at < total; at += chunkBytes) {
    journal.append(1, pattern(at, Math.min(chunkBytes, total - at)))
    while (journal.congested) await new Promise((resolve) => setImmediate(resolve))
  }
}

test('small output is read back with streams, offsets and order', async () => {
  const journal = new Journal(options())
  journal.append(1, Buffer.from('out'))
  journal.append(2, Buffer.from('err'))
  journal.append(1, Buffer.from('more'))
  expect((await readAll(journal)).pieces).toEqual([
    { offset: 0, stream: 1, text: 'out' },
    { offset: 3, stream: 2, text: 'err' },
    { offset: 6, stream: 1, text: 'more' },
  ])
  expect((await readAll(journal, 4)).text).toBe('rrmore')
  expect([journal.stdoutBytes, journal.stderrBytes, journal.end]).toEqual([7, 3, 10])
})

test('output beyond the memory part comes back byte for byte from files and memory', async () => {
  const journal = new Journal(options())
  const total = 40 * 1024 * 1024 + 123
  await write(journal, total, 50_000)
  expect(journal.memory.cost).toBeLessThanOrEqual(256 * 1024 + MAX_IN_FLIGHT_BYTES)
  const { text, gaps } = await readAll(journal)
  expect(gaps).toEqual([])
  expect(Buffer.from(text, 'latin1').equals(pattern(0, total))).toBe(true)
  await journal.finish()
  for (const from of [1, 16 * 1024 * 1024 - 7, 33_333_333, total - 10]) {
    const tail = await readAll(journal, from)
    expect(Buffer.from(tail.text, 'latin1').equals(pattern(from, total - from))).toBe(true)
  }
})

test('a finished journal is the same after it was restored from its record', async () => {
  for (const total of [0, 10, 4096, 4097, 3_000_000]) {
    const journal = new Journal(options({ dir: join(dir, String(total)) }))
    await write(journal, total, 10_000)
    const meta = JSON.parse(JSON.stringify(await journal.finish()))
    expect(meta.inline !== undefined).toBe(total <= 4096)
    const restored = new Journal(options({ dir: join(dir, String(total)) }), meta)
    expect(restored.end).toBe(total)
    expect(restored.stdoutBytes).toBe(total)
    const { text } = await readAll(restored)
    expect(Buffer.from(text, 'latin1').equals(pattern(0, total))).toBe(true)
  }
})

test('what passes the disk budget is evicted, oldest first, and the gap is exact', async () => {
  const journal = new Journal(options({ diskBytes: 1024 * 1024 }))
  const total = 10_000_000
  await write(journal, total, 30_000)
  await journal.finish()
  const { gaps, text } = await readAll(journal, 5)
  expect(gaps).toEqual([{ from: 5, to: journal.start, reason: 'evicted' }])
  expect(Buffer.from(text, 'latin1').equals(pattern(journal.start, total - journal.start))).toBe(true)
  expect(total - journal.start).toBeGreaterThan(512 * 1024)
  expect(readdirSync(join(dir, 'j')).length).toBeLessThanOrEqual(5)
})

test('without a disk part memory is all there is', async () => {
  const journal = new Journal(options({ diskBytes: 0 }))
  await write(journal, 2_000_000, 10_000)
  const { gaps, text } = await readAll(journal)
  expect(gaps).toEqual([{ from: 0, to: journal.start, reason: 'evicted' }])
  expect(Buffer.from(text, 'latin1').equals(pattern(journal.start, 2_000_000 - journal.start))).toBe(true)
  expect(journal.memory.cost).toBeLessThanOrEqual(256 * 1024)
})

test('a live reader is served from memory and never reads a file', async () => {
  const journal = new Journal(options())
  const reader = new JournalReader(journal, 0)
  for (let at = 0; at < 4_000_000; at += 20_000) {
    journal.append(1, pattern(at, 20_000))
    for (let batch = reader.next(); batch; batch = reader.next()) expect(batch).not.toBeInstanceOf(Promise)
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(reader.offset).toBe(4_000_000)
  await journal.finish()
})

test('a program that writes single bytes to two streams in turn does not cost more memory than it may', async () => {
  const journal = new Journal(options({ diskBytes: 0 }))
  for (let at = 0; at < 100_000; at++) journal.append(1 + (at % 2), Buffer.from('x'))
  expect(journal.memory.cost).toBeLessThanOrEqual(256 * 1024)
  expect(journal.memory.end - journal.memory.start).toBeLessThan(2_000)
})

test('an offset beyond the end waits and then goes on exactly there', async () => {
  const journal = new Journal(options())
  const reader = new JournalReader(journal, 5)
  journal.append(1, Buffer.from('01234'))
  expect(reader.next()).toBeUndefined()
  journal.append(1, Buffer.from('56789'))
  expect((await reader.next())?.subarray(16).toString()).toBe('56789')
})

test('a file that was deleted behind our back is a named gap', async () => {
  const journal = new Journal(options())
  await write(journal, 1_000_000, 10_000)
  await journal.finish()
  rmSync(join(dir, 'j', '0.seg'))
  const { gaps, text } = await readAll(journal)
  expect(gaps).toEqual([{ from: 0, to: 1_000_000, reason: 'disk_error' }])
  expect(text).toBe('')
})

test('a folder that cannot be written to is a named gap, and memory is still served', async () => {
  writeFileSync(join(dir, 'blocked'), 'not a folder')
  const journal = new Journal(options({ dir: join(dir, 'blocked', 'j') }))
  await write(journal, 3_000_000, 10_000)
  await journal.finish()
  const { gaps, text } = await readAll(journal)
  expect(gaps).toEqual([{ from: 0, to: journal.memory.start, reason: 'disk_error' }])
  expect(Buffer.from(text, 'latin1').equals(pattern(journal.memory.start, 3_000_000 - journal.memory.start))).toBe(true)
})

test('salvage finds every whole frame and stops at a torn one', async () => {
  const journal = new Journal(options())
  await write(journal, 2_000_000, 9_000)
  await journal.finish()
  const file = join(dir, 'j', '0.seg')
  const whole = await salvageJournal(join(dir, 'j'))
  expect(whole.end).toBe(2_000_000)
  const { readFileSync } = await import('node:fs')
  const bytes = readFileSync(file)
  writeFileSync(file, bytes.subarray(0, bytes.length - 100))
  const torn = await salvageJournal(join(dir, 'j'))
  expect(torn.end).toBeLessThan(2_000_000)
  expect(torn.end).toBeGreaterThan(1_950_000)
  const restored = new Journal(options(), torn)
  const { text, gaps } = await readAll(restored)
  expect(gaps).toEqual([])
  expect(Buffer.from(text, 'latin1').equals(pattern(0, torn.end))).toBe(true)
})
