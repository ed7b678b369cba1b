import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { FileRegistry, type Store } from '@coppice/registry'
import { beforeEach, describe, expect, it } from 'vitest'
import { registryEntriesCheck } from '../registry/entries.ts'
import { detect, hashed, makeHome, plant, registered, repair, snapshot } from '../testing/home.ts'
import { missingResourcesCheck } from './missing.ts'
import { orphanedResourcesCheck } from './orphans.ts'

let home: string
let store: Store<object>
beforeEach(async () => {
  home = makeHome()
  store = (await FileRegistry.open(join(home, 'registry'))).kind('sandboxes')
})

const folder = (id: string) => join(home, 'drivers', 'process', id)
const make = (id: string) => mkdirSync(folder(id), { recursive: true })

describe('an entry whose resource is gone', () => {
  it('gets an end record that says so', async () => {
    await store.put('sb-gone', { driver: 'process', state: 'running', name: 'n', future: 1 })
    await store.put('sb-there', { driver: 'process', state: 'running' })
    await store.put('sb-intent', { driver: 'process', state: 'creating' })
    await store.put('sb-ended', { driver: 'process', state: 'failed' })
    make('sb-there')
    const before = snapshot(home)
    expect(await detect(missingResourcesCheck, home)).toMatchObject([
      { severity: 'error', path: folder('sb-gone'), fixable: true, hint: 'coppice rm sb-gone' },
    ])
    expect(snapshot(home)).toEqual(before)
    const report = await repair([missingResourcesCheck], home)
    expect(report.checks[0]?.findings).toEqual([])
    expect(await registered(home, 'sandboxes')).toMatchObject({
      'sb-gone': { state: 'failed', name: 'n', future: 1, end: { reason: 'vanished', exitCode: null } },
      'sb-there': { state: 'running' },
      'sb-intent': { state: 'creating' },
    })
  })

  it('is left to the gateway that runs', async () => {
    await store.put('sb-gone', { driver: 'process', state: 'running' })
    const gateway = { kind: 'running', url: 'http://x', version: '1', pid: 1, local: true, date: null }
    expect(await detect(missingResourcesCheck, home, { gateway })).toMatchObject([{ fixable: false }])
  })

  it('of a driver that cannot be asked is not called gone', async () => {
    await store.put('sb-far', { driver: 'kubernetes', state: 'running' })
    expect(await detect(missingResourcesCheck, home)).toMatchObject([{ severity: 'unverified' }])
  })
})

describe('a resource without an entry', () => {
  it('is told, and removed by a repair alone', async () => {
    make('sb-orphan')
    plant(home, 'drivers/process/sb-orphan/record.json', '{}')
    await store.put('sb-known', { driver: 'process', state: 'stopped' })
    make('sb-known')
    const before = snapshot(home)
    expect(await detect(orphanedResourcesCheck, home)).toMatchObject([{ path: folder('sb-orphan'), fixable: true }])
    expect(snapshot(home)).toEqual(before)
    await repair([orphanedResourcesCheck], home)
    expect(existsSync(folder('sb-orphan'))).toBe(true)
    const report = await repair([orphanedResourcesCheck], home, { yes: true })
    expect(report.checks[0]?.findings).toEqual([])
    expect([existsSync(folder('sb-orphan')), existsSync(folder('sb-known'))]).toEqual([false, true])
  })

  it('needs no consent when its removal was asked for, or nothing ever came of it', async () => {
    await store.put('sb-removed', { driver: 'process', state: 'removed' })
    make('sb-removed')
    plant(home, 'drivers/process/sb-removed/record.json', '{}')
    make('sb-empty')
    const report = await repair([orphanedResourcesCheck], home)
    expect(report.checks[0]?.findings).toEqual([])
    expect([existsSync(folder('sb-removed')), existsSync(folder('sb-empty'))]).toEqual([false, false])
  })

  it('is no orphan while its entry is damaged, nor when that entry went into quarantine', async () => {
    make('sb-damaged')
    plant(home, join('registry', 'sandboxes', hashed('sb-damaged')), 'damaged')
    expect(await detect(orphanedResourcesCheck, home)).toMatchObject([{ fixable: false }])
    const report = await repair([registryEntriesCheck, orphanedResourcesCheck], home, { yes: true })
    expect(report.checks.flatMap(({ findings }) => findings)).toMatchObject([
      { fixable: false, hint: expect.stringContaining('quarantine') },
    ])
    expect(existsSync(folder('sb-damaged'))).toBe(true)
  })

  it('is never called an orphan when the registry cannot be read', async () => {
    make('sb-x')
    const odd = makeHome()
    plant(odd, 'registry', 'a file')
    mkdirSync(join(odd, 'drivers', 'process', 'sb-x'), { recursive: true })
    await expect(detect(orphanedResourcesCheck, odd)).rejects.toMatchObject({ reason: 'registry_io' })
  })
})
