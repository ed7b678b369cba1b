import { existsSync, mkdirSync, readFileSync, renameSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FileRegistry } from '@coppice/registry'
import { beforeEach, describe, expect, it } from 'vitest'
import { detect, hashed, makeHome, plant, quarantined, registered, repair, snapshot } from '../testing/home.ts'
import { registryEntriesCheck } from './entries.ts'
import { registryLeftoversCheck } from './leftovers.ts'

let home: string
beforeEach(async () => {
  home = makeHome()
  await (await FileRegistry.open(join(home, 'registry'))).kind('sandboxes').put('good', { state: 'stopped' })
})

const inKind = (name: string) => join('registry', 'sandboxes', name)
const record = (more: object) =>
  JSON.stringify({ schema: 1, kind: 'sandboxes', id: 'x', version: 1, nonce: 'a'.repeat(32), value: { a: 1 }, ...more })

describe('registry entries', () => {
  it('are in order when they are, also without a registry', async () => {
    expect(await detect(registryEntriesCheck, home)).toEqual([])
    expect(await detect(registryEntriesCheck, makeHome())).toEqual([])
  })

  it.each([
    ['an empty file', hashed('x'), '', 'error', true],
    ['a truncated file', hashed('x'), record({}).slice(0, 30), 'error', true],
    ['another type', hashed('x'), '[]', 'error', true],
    ['a wrong name', hashed('y'), record({}), 'error', true],
    ['another kind', hashed('x'), record({ kind: 'images' }), 'error', true],
    ['a newer version', hashed('x'), record({ schema: 99 }), 'error', false],
    ['something else', 'notes.txt', 'x', 'warning', true],
  ] as const)('that are damaged are told: %s', async (_, name, content, severity, fixable) => {
    const path = plant(home, inKind(name), content)
    const before = snapshot(home)
    expect(await detect(registryEntriesCheck, home)).toMatchObject([{ path, severity, fixable }])
    expect(snapshot(home)).toEqual(before)
  })

  it('that are damaged make room, byte for byte, and good ones stay', async () => {
    plant(home, inKind(hashed('x')), 'damaged')
    plant(home, inKind(hashed('z')), record({ schema: 99, id: 'z' }))
    mkdirSync(join(home, inKind(hashed('folder'))))
    const report = await repair([registryEntriesCheck], home)
    expect(report.checks[0]?.findings).toMatchObject([{ path: join(home, inKind(hashed('z'))), hint: 'git pull' }])
    expect(quarantined(home, 'sandboxes')).toContainEqual(
      expect.objectContaining({ name: hashed('x'), content: 'damaged' }),
    )
    expect(await registered(home, 'sandboxes')).toEqual({ good: { state: 'stopped' } })
    expect(existsSync(join(home, inKind(hashed('z'))))).toBe(true)
  })

  it('that only have a wrong name get their own back when it is free', async () => {
    const path = join(home, inKind(hashed('good')))
    renameSync(path, join(home, inKind(hashed('misnamed'))))
    await repair([registryEntriesCheck], home)
    expect(await registered(home, 'sandboxes')).toEqual({ good: { state: 'stopped' } })
    writeFileSync(join(home, inKind(hashed('copy'))), readFileSync(path))
    await repair([registryEntriesCheck], home)
    expect(quarantined(home, 'sandboxes')).toMatchObject([
      { name: hashed('copy'), content: readFileSync(path, 'utf8') },
    ])
  })
})

describe('leftovers of killed writers', () => {
  it('are told when they are old, and swept', async () => {
    const nonce = 'b'.repeat(32)
    const old = plant(home, inKind(`${hashed('x').slice(0, 64)}.${nonce}.new`), record({ nonce }))
    plant(home, inKind(`${hashed('y').slice(0, 64)}.${nonce}.new`), record({ nonce }))
    const hoursAgo = Date.now() / 1000 - 7200
    utimesSync(old, hoursAgo, hoursAgo)
    expect(await detect(registryLeftoversCheck, home)).toMatchObject([{ path: old, fixable: true, hint: `rm ${old}` }])
    const report = await repair([registryLeftoversCheck], home)
    expect(report.checks[0]?.findings).toEqual([])
    expect(existsSync(old)).toBe(false)
    expect(await registered(home, 'sandboxes')).toEqual({ good: { state: 'stopped' } })
  })

  it('are left to the gateway that runs', async () => {
    const old = plant(home, inKind(`${hashed('x').slice(0, 64)}.${'b'.repeat(32)}.new`), 'x')
    utimesSync(old, 1, 1)
    const gateway = { kind: 'running', url: 'http://x', version: '1', pid: 1, local: true, date: null }
    expect(await detect(registryLeftoversCheck, home, { gateway })).toMatchObject([
      { fixable: false, hint: 'coppice gateway stop && coppice gateway start' },
    ])
  })
})
