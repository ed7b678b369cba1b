import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { EgressRecord } from '@coppice/protocol'
import { afterEach, describe, expect, it } from 'vitest'
import { SandboxLog } from './sandbox-log.ts'
import { LogWriter, logFiles } from './writer.ts'

const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'coppice-egress-log-'))
  folders.push(made)
  return join(made, 'sb-1')
}

function record(more: Partial<EgressRecord> = {}): EgressRecord {
  return {
    at: 1,
    kind: 'connection',
    exec: null,
    via: 'connect',
    name: 'example.org',
    address: '203.0.113.1',
    port: 443,
    verdict: 'allowed',
    rule: 'public',
    bytesOut: 0,
    bytesIn: 0,
    endedAt: null,
    end: null,
    ...more,
  }
}

const all = (log: SandboxLog, options: Parameters<SandboxLog['read']>[0] = {}) => Array.fromAsync(log.read(options))

describe('the log of a sandbox', () => {
  it('has one record for each connection, in the order of their opening, as they are now', async () => {
    const log = new SandboxLog(folder())
    const state = [record({ name: 'a' }), record({ name: 'b' }), record({ name: 'c' })]
    const ids = state.map((_, at) => log.opened(() => state[at] as EgressRecord))
    state[1] = record({ name: 'b', bytesIn: 5, endedAt: 2, end: 'closed' })
    log.ended(ids[1] as string)
    state[2] = record({ name: 'c', bytesIn: 7 })
    expect((await all(log)).map(({ name, bytesIn, end }) => [name, bytesIn, end])).toEqual([
      ['a', 0, null],
      ['b', 5, 'closed'],
      ['c', 7, null],
    ])
  })

  it('still has what was open when its writer was killed, and what was finished, and goes on', async () => {
    const dir = folder()
    const script = `
      import { SandboxLog } from ${JSON.stringify(join(import.meta.dirname, 'sandbox-log.ts'))}
      const log = new SandboxLog(${JSON.stringify(dir)})
      const record = (name, end) => (${JSON.stringify(record())}) && { ...${JSON.stringify(record())}, name, end }
      let done = record('done', null)
      log.opened(() => record('open', null))
      const id = log.opened(() => done)
      done = record('done', 'closed')
      log.ended(id)
      for await (const _ of log.read({})) ;
      process.kill(process.pid, 'SIGKILL')
    `
    expect(() => execFileSync(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' })).toThrow()
    // A last line that was cut short by the crash.
    appendFileSync(join(dir, 'egress.jsonl'), '{"id":"torn","at":12')
    const log = new SandboxLog(dir)
    log.happened(record({ name: 'next', verdict: 'denied' }))
    expect((await all(log)).map(({ name, end }) => [name, end])).toEqual([
      ['open', null],
      ['done', 'closed'],
      ['next', null],
    ])
  })

  it('is bounded: the older half goes first, and what is open is shown all the same', async () => {
    const dir = folder()
    const log = new SandboxLog(dir, 20_000)
    log.opened(() => record({ name: 'long-lived', bytesOut: 42 }))
    for (let at = 0; at < 1000; at += 1) {
      log.happened(record({ name: `n${at}`, verdict: 'denied' }))
      if (at % 50 === 0) await all(log)
    }
    const records = await all(log)
    const sizes = readdirSync(dir).map((file) => statSync(join(dir, file)).size)
    expect(sizes).toHaveLength(2)
    for (const size of sizes) expect(size).toBeLessThanOrEqual(20_000)
    expect(records[0]).toMatchObject({ name: 'long-lived', bytesOut: 42 })
    const numbers = records.slice(1).map(({ name }) => Number(name?.slice(1)))
    expect(numbers.at(-1)).toBe(999)
    expect(numbers).toEqual(Array.from(numbers, (_, at) => 1000 - numbers.length + at))
    expect(numbers.length).toBeGreaterThan(50)
  })

  it('counts equal records instead of writing them, and never loses their number', async () => {
    const log = new SandboxLog(folder())
    for (let at = 0; at < 10_000; at += 1) log.happened(record({ at, verdict: 'denied', rule: 'not_listed' }))
    log.happened(record({ at: 10_001, verdict: 'denied', rule: 'not_listed', name: 'other' }))
    expect((await all(log)).map(({ name, times = 1 }) => [name, times])).toEqual([
      ['example.org', 1],
      ['other', 1],
      ['example.org', 9_999],
    ])
  })

  it('says how many records were dropped that the disk could not take in time', async () => {
    const log = new SandboxLog(folder())
    for (let at = 0; at < 10_000; at += 1) log.happened(record({ name: `n${at}`, verdict: 'denied' }))
    log.happened(record({ name: 'after' }))
    await all(log)
    log.happened(record({ name: 'later' }))
    const records = await all(log)
    const dropped = records.filter(({ rule }) => rule === 'not_recorded').reduce((sum, { times = 1 }) => sum + times, 0)
    expect(dropped).toBeGreaterThan(0)
    expect(records.filter(({ rule }) => rule !== 'not_recorded').length + dropped).toBe(10_002)
    expect(records.at(-1)).toMatchObject({ name: 'later' })
  })

  it('goes on when there is no place for it, and says so once there is', async () => {
    const dir = folder()
    // A file where the folder would be: nothing can be written.
    writeFileSync(dir, '')
    const log = new SandboxLog(dir)
    log.happened(record({ name: 'lost' }))
    expect(await all(log)).toEqual([])
    rmSync(dir)
    mkdirSync(dir)
    log.happened(record({ name: 'kept' }))
    const records = await all(log)
    expect(records.map(({ name, rule, times }) => [name, rule, times])).toEqual([
      ['kept', 'public', undefined],
      [null, 'not_recorded', 1],
    ])
  })

  it('is read from its end, or only what was denied', async () => {
    const log = new SandboxLog(folder())
    for (let at = 0; at < 20; at += 1) {
      const verdict = at % 4 === 0 ? 'denied' : 'allowed'
      log.happened(record({ at, name: `n${at}`, verdict, endedAt: at, end: 'closed' }))
    }
    log.opened(() => record({ name: 'open' }))
    const namesOf = async (options: Parameters<SandboxLog['read']>[0]) =>
      (await all(log, options)).map(({ name }) => name)
    expect(await namesOf({ limit: 3 })).toEqual(['n18', 'n19', 'open'])
    expect(await namesOf({ denied: true, limit: 2 })).toEqual(['n12', 'n16'])
    expect(await namesOf({ denied: true })).toEqual(['n0', 'n4', 'n8', 'n12', 'n16'])
    expect(await namesOf({ limit: 0 })).toEqual([])
    expect(await namesOf({ limit: 1000 })).toHaveLength(21)
  })

  it('passes over lines that are none', async () => {
    const dir = folder()
    mkdirSync(dir)
    const good = JSON.stringify({ id: 'x-1', ...record({ name: 'good' }) })
    writeFileSync(join(dir, 'egress.jsonl'), `\n{"id":"}\nnonsense\n{"id":"a","broken\n${good}\n{"id":"b",]}\n\0\0\0`)
    expect((await all(new SandboxLog(dir))).map(({ name }) => name)).toEqual(['good'])
  })

  it('is removed with everything', async () => {
    const dir = folder()
    const log = new SandboxLog(dir)
    log.happened(record())
    await all(log)
    expect(readFileSync(join(dir, 'egress.jsonl'), 'utf8')).toContain('example.org')
    await log.remove()
    expect(() => readdirSync(dir)).toThrow()
  })
})

describe('its writer', () => {
  it('writes one after the other, and all before it has ended, also what comes while somebody reads', async () => {
    const dir = folder()
    const writer = new LogWriter(dir)
    const reading = Promise.withResolvers<void>()
    const read = writer.still(() => reading.promise)
    writer.add('1', record())
    // Time enough for a write, which takes a few such turns.
    for (let turn = 0; turn < 100; turn++) await stat(tmpdir())
    const meanwhile = linesIn(dir)
    reading.resolve()
    await read
    writer.add('2', record())
    await new Promise((resolve) => setImmediate(resolve))
    await writer.close()
    expect([meanwhile, linesIn(dir)]).toEqual([0, 2])
  })
})

function linesIn(dir: string): number {
  try {
    return readFileSync(logFiles(dir)[1], 'utf8').split('\n').length - 1
  } catch {
    return 0
  }
}
