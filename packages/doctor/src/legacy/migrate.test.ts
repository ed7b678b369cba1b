import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { FileRegistry } from '@coppice/registry'
import { beforeEach, describe, expect, it } from 'vitest'
import { detect, hashed, makeHome, plant, quarantined, registered, repair, snapshot } from '../testing/home.ts'
import { legacyCheck } from './check.ts'
import { legacyLocksCheck } from './lock-check.ts'

const CONTAINERS = legacyCheck('containers')
const CHECKS = [legacyLocksCheck, CONTAINERS, legacyCheck('browsers')]

let home: string
beforeEach(() => {
  home = makeHome()
})

const row = (name: string, more: object = {}) => ({
  containerName: name,
  createdAtMs: 1,
  lastUsedAtMs: 2,
  image: 'i',
  ...more,
})
const entry = (name: string, more: object = {}) => ({
  ...row(name, more),
  foreign: true,
  backendId: 'docker',
  runtimeLabel: name,
  configLabelKind: 'Image',
})
const shard = (name: string, content: string | object = row(name), kind = 'containers') =>
  plant(home, join(kind, hashed(name)), typeof content === 'string' ? content : JSON.stringify(content))

describe('migration', () => {
  it('moves monolithic and sharded entries of both kinds, and leaves nothing behind', async () => {
    plant(home, 'containers.json', JSON.stringify({ entries: [row('a', { extra: [1] }), row('b')] }))
    plant(home, 'browsers.json', JSON.stringify({ entries: [row('c')] }))
    shard('d')
    shard('e', row('e'), 'browsers')
    const report = await repair(CHECKS, home)
    expect(report.checks.flatMap(({ findings }) => findings)).toEqual([])
    expect(await registered(home, 'containers')).toEqual({
      a: entry('a', { extra: [1] }),
      b: entry('b'),
      d: entry('d'),
    })
    expect(await registered(home, 'browsers')).toEqual({ c: entry('c'), e: entry('e') })
    expect(readdirSync(home)).toEqual(['registry'])
  })

  it('is told before, and a look changes nothing', async () => {
    plant(home, 'containers.json', JSON.stringify({ entries: [row('a'), 42] }))
    shard('b')
    shard('c', 'rubbish')
    const before = snapshot(home)
    const findings = await detect(CONTAINERS, home)
    expect(findings.map(({ severity, fixable }) => ({ severity, fixable }))).toEqual([
      { severity: 'warning', fixable: true },
      { severity: 'warning', fixable: true },
      { severity: 'error', fixable: true },
      { severity: 'error', fixable: true },
    ])
    expect(findings.map(({ message }) => message).join('\n')).toMatch(/Row 1 of .*containers\.json is no usable entry/)
    await repair(CHECKS, home, { dryRun: true })
    expect(snapshot(home)).toEqual(before)
  })

  it('quarantines each bad entry by itself, byte for byte, and loses no good one', async () => {
    const bad = '{"containerName": 7,   "image":"é"}'
    plant(home, 'containers.json', `{"entries":[${JSON.stringify(row('a'))}, ${bad} ,${JSON.stringify(row('b'))}]}`)
    shard('c', '{"containerName":"c"')
    shard('d')
    shard('e', row('another'))
    plant(home, join('containers', 'stray.tmp'), 'x')
    await repair(CHECKS, home)
    expect(Object.keys(await registered(home, 'containers'))).toEqual(['a', 'b', 'd'])
    const kept = quarantined(home, 'containers')
    expect(kept.map(({ name, content }) => [name, Buffer.from(content, 'latin1').toString()])).toEqual(
      [
        [hashed('c'), '{"containerName":"c"'],
        [hashed('e'), JSON.stringify(row('another'))],
        ['containers.json.row-1', bad],
        ['stray.tmp', 'x'],
      ].sort(([a = ''], [b = '']) => (a < b ? -1 : 1)),
    )
    expect(kept.every(({ reason }) => reason.length > 5)).toBe(true)
    expect(existsSync(join(home, 'containers'))).toBe(false)
  })

  it('takes the good entries out of a truncated file and keeps the file whole', async () => {
    const text = `{"entries":[${JSON.stringify(row('a'))},${JSON.stringify(row('b'))},{"containerName":"cut`
    plant(home, 'containers.json', text)
    await repair(CHECKS, home)
    expect(Object.keys(await registered(home, 'containers'))).toEqual(['a', 'b'])
    expect(quarantined(home, 'containers').map(({ name, content }) => [name, content])).toEqual([
      ['containers.json', text],
      ['containers.json.row-2', '{"containerName":"cut'],
    ])
  })

  it.each(['', 'null', '[]', '{"entries":{}}', '\0\0\0', '{}'])('keeps a file that has no rows: %j', async (text) => {
    plant(home, 'containers.json', text)
    await repair(CHECKS, home)
    expect(quarantined(home, 'containers')).toMatchObject([{ name: 'containers.json', content: text }])
    expect(existsSync(join(home, 'containers.json'))).toBe(false)
  })

  it('keeps a file that holds more than rows', async () => {
    plant(home, 'containers.json', JSON.stringify({ version: 3, entries: [row('a')] }))
    await repair(CHECKS, home)
    expect(quarantined(home, 'containers')).toMatchObject([
      { name: 'containers.json', reason: expect.stringContaining('version') },
    ])
  })

  it('puts aside what is no file: a folder, a link', async () => {
    mkdirSync(join(home, 'containers', hashed('x')), { recursive: true })
    plant(home, 'elsewhere', 'untouched')
    symlinkSync('../elsewhere', join(home, 'containers', hashed('y')))
    symlinkSync('elsewhere', join(home, 'browsers.json'))
    shard('z')
    const report = await repair(CHECKS, home)
    expect(report.checks.flatMap(({ findings }) => findings)).toEqual([])
    expect(Object.keys(await registered(home, 'containers'))).toEqual(['z'])
    expect(readFileSync(join(home, 'elsewhere'), 'utf8')).toBe('untouched')
  })

  it('lets an entry win that is there already, and throws nothing away', async () => {
    const store = (await FileRegistry.open(join(home, 'registry'))).kind('containers')
    await store.put('a', { mine: true })
    await store.put('b', { mine: true })
    plant(home, 'containers.json', JSON.stringify({ entries: [row('a'), row('c')] }))
    shard('b')
    await repair(CHECKS, home)
    expect(await registered(home, 'containers')).toEqual({ a: { mine: true }, b: { mine: true }, c: entry('c') })
    expect(quarantined(home, 'containers').map(({ name }) => name)).toEqual(
      [hashed('b'), 'containers.json.row-0'].sort(),
    )
  })

  it('takes the sharded entry where both forms have one', async () => {
    shard('a', row('a', { image: 'new' }))
    plant(home, 'containers.json', JSON.stringify({ entries: [row('a', { image: 'old' })] }))
    await repair(CHECKS, home)
    expect(await registered(home, 'containers')).toEqual({ a: entry('a', { image: 'new' }) })
  })

  it('takes the first of two rows of one name and keeps the other', async () => {
    const twice = [row('a', { image: 'first' }), row('a', { image: 'second' }), row('a', { image: 'first' })]
    plant(home, 'containers.json', JSON.stringify({ entries: twice }))
    await repair(CHECKS, home)
    expect(await registered(home, 'containers')).toEqual({ a: entry('a', { image: 'first' }) })
    expect(quarantined(home, 'containers')).toMatchObject([{ name: 'containers.json.row-1' }])
  })

  it('does nothing the second time', async () => {
    plant(home, 'containers.json', JSON.stringify({ entries: [row('a'), 42] }))
    shard('b', 'rubbish')
    plant(home, 'containers.json.lock', '{"pid":4194304}')
    await repair(CHECKS, home)
    const before = snapshot(home)
    const report = await repair(CHECKS, home)
    expect(report.effects).toEqual([])
    expect(snapshot(home)).toEqual(before)
  })

  it('does not touch the entry that the registry cannot read, and keeps the source', async () => {
    plant(home, join('registry', 'containers', hashed('a')), 'damaged')
    const file = shard('a')
    const report = await repair([CONTAINERS], home)
    expect(report.checks[0]?.findings).toContainEqual(expect.objectContaining({ severity: 'error', path: file }))
    expect(existsSync(file)).toBe(true)
    expect(readFileSync(join(home, 'registry', 'containers', hashed('a')), 'utf8')).toBe('damaged')
  })
})

describe('locks', () => {
  it('go when their owner is gone, and stay and are told otherwise', async () => {
    const gone = plant(home, 'containers.json.lock', '4194304')
    const recycled = plant(home, join('containers', 'x.lock'), JSON.stringify({ pid: process.pid, startTime: 1 }))
    const held = plant(home, 'browsers.json.lock', JSON.stringify({ pid: process.pid }))
    const mute = plant(home, join('browsers', `${hashed('a')}.lock`), 'held')
    const [report] = (await repair([legacyLocksCheck], home)).checks
    expect([gone, recycled, held, mute].map((path) => existsSync(path))).toEqual([false, false, true, true])
    expect(report?.findings).toEqual([
      expect.objectContaining({ path: held, fixable: false, hint: `ps -fp ${process.pid}` }),
      expect.objectContaining({ path: mute, fixable: false, hint: expect.stringContaining('cat ') }),
    ])
  })

  it('of a living process keep what they lock where it is; the entries are safe in the registry all the same', async () => {
    plant(home, 'containers.json.lock', JSON.stringify({ pid: process.pid }))
    const file = plant(home, 'containers.json', JSON.stringify({ entries: [row('a'), 42] }))
    const first = await repair([CONTAINERS], home)
    expect(await registered(home, 'containers')).toEqual({ a: entry('a') })
    expect(existsSync(file)).toBe(true)
    expect(quarantined(home, 'containers')).toEqual([])
    expect(first.checks[0]?.findings[0]).toMatchObject({ path: file, hint: `ps -fp ${process.pid}` })
  })

  it('of a living process keep nothing else', async () => {
    plant(home, join('containers', `${hashed('a')}.lock`), JSON.stringify({ pid: process.pid }))
    const [locked, free] = [shard('a'), shard('b')]
    const file = plant(home, 'containers.json', JSON.stringify({ entries: [row('c')] }))
    await repair([CONTAINERS], home)
    expect(Object.keys(await registered(home, 'containers'))).toEqual(['a', 'b', 'c'])
    expect([locked, free, file].map((path) => existsSync(path))).toEqual([true, false, false])
  })
})
