import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import { doctor, hashed, makeHome, plant, quarantined, registered, snapshot } from './testing/home.ts'
import { mountTmpfs } from './testing/mounted.ts'

let home: string
beforeEach(() => {
  home = makeHome()
  chmodSync(join(home, '..'), 0o755)
})

const ONLY = ['--only', 'legacy/containers', '--only', 'legacy/browsers', '--only', 'legacy/lock-files']
const row = (name: string, more: object = {}) => ({ containerName: name, createdAtMs: 1, image: 'i', ...more })

/** Takes all but about `left` bytes of a small file system. */
function fill(dir: string, left: number): string {
  const { bavail, bsize } = statfsSync(dir)
  const file = join(dir, 'filler')
  writeFileSync(file, Buffer.alloc(Math.max(0, bavail * bsize - left)))
  return file
}

describe('migration when it cannot be done', () => {
  it('keeps every source on a full disk, says so, and ends well once there is room', async () => {
    using _disk = mountTmpfs(home, 'size=512k,mode=711')
    const good = plant(
      home,
      'containers.json',
      JSON.stringify({ entries: [row('a', { pad: 'x'.repeat(20_000) }), row('b'), 7] }),
    )
    const bad = plant(home, join('containers', hashed('c')), `{"containerName":"c","pad":"${'y'.repeat(20_000)}`)
    const shard = plant(home, join('containers', hashed('d')), JSON.stringify(row('d', { pad: 'z'.repeat(20_000) })))
    const sources = [good, bad, shard].map((path) => readFileSync(path, 'utf8'))
    const filler = fill(home, 0)
    const first = await doctor(home, ['--fix', ...ONLY])
    expect(first.code).toBe(1)
    expect(first.report.findings).toContainEqual(
      expect.objectContaining({
        severity: 'error',
        message: expect.stringMatching(/No room is left/),
        hint: expect.stringMatching(/^df -h /),
      }),
    )
    expect([good, bad, shard].map((path) => readFileSync(path, 'utf8'))).toEqual(sources)

    rmSync(filler)
    const second = await doctor(home, ['--fix', ...ONLY])
    expect(second).toMatchObject({ code: 0, report: { ok: true } })
    expect(Object.keys(await registered(home, 'containers'))).toEqual(['a', 'b', 'd'])
    expect(new Set(quarantined(home, 'containers').map(({ content }) => content))).toEqual(new Set([sources[1], '7']))
  })

  it('moves what still fits on a nearly full disk and loses nothing of the rest', async () => {
    using _disk = mountTmpfs(home, 'size=512k,mode=711')
    const names = Array.from({ length: 20 }, (_, index) => `box-${index}`)
    for (const name of names)
      plant(home, join('containers', hashed(name)), JSON.stringify(row(name, { pad: 'p'.repeat(3000) })))
    const filler = fill(home, 24 * 1024)
    await doctor(home, ['--fix', ...ONLY])
    const moved = Object.keys(await registered(home, 'containers'))
    const left = existsSync(join(home, 'containers')) ? readdirSync(join(home, 'containers')) : []
    for (const name of names) expect(moved.includes(name) || left.includes(hashed(name))).toBe(true)
    rmSync(filler)
    expect(await doctor(home, ['--fix', ...ONLY])).toMatchObject({ code: 0 })
    expect(Object.keys(await registered(home, 'containers'))).toEqual(names.sort())
  })

  it('leaves a bad file where it is when the quarantine is on another file system, with a command that helps', async () => {
    using _disk = mountTmpfs(join(home, 'quarantine'), 'size=1m,mode=700')
    const bad = plant(home, join('containers', hashed('x')), 'rubbish')
    plant(home, join('containers', hashed('a')), JSON.stringify(row('a')))
    const run = await doctor(home, ['--fix', ...ONLY])
    expect(run.code).toBe(1)
    expect(readFileSync(bad, 'utf8')).toBe('rubbish')
    expect(Object.keys(await registered(home, 'containers'))).toEqual(['a'])
    const told = run.report.findings.find(({ message }) => message.startsWith('Could not: '))
    expect(told).toMatchObject({ severity: 'error', message: expect.stringContaining('different file systems') })

    execFileSync('sh', ['-c', told?.hint ?? 'false'])
    expect(await doctor(home, ['--fix', ...ONLY])).toMatchObject({ code: 0 })
    expect(readFileSync(join(home, 'quarantine', 'containers', hashed('x')), 'utf8')).toBe('rubbish')
  })

  it('leaves everything where it is without permission, and says whose it is', async () => {
    const nobody = 65_534
    const bad = plant(home, join('containers', hashed('x')), 'rubbish')
    const good = plant(home, join('containers', hashed('a')), JSON.stringify(row('a')))
    const file = plant(home, 'browsers.json', JSON.stringify({ entries: [row('b')] }))
    for (const path of [home, bad, good, file, join(home, 'containers')]) chownSync(path, nobody, nobody)
    mkdirSync(join(home, 'quarantine'), { mode: 0o700 })
    mkdirSync(join(home, 'registry'), { mode: 0o700 })
    const before = ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups']
    const run = await doctor(home, ['--fix', ...ONLY], { before })
    expect(run.code).toBe(1)
    expect([bad, good, file].map((path) => existsSync(path))).toEqual([true, true, true])
    const told = run.report.findings.filter(({ message }) => message.startsWith('Could not: '))
    expect(told.map(({ hint }) => hint)).toEqual(expect.arrayContaining([expect.stringMatching(/^ls -ld /)]))

    expect(await doctor(home, ['--fix', ...ONLY])).toMatchObject({ code: 0 })
    expect(Object.keys(await registered(home, 'containers'))).toEqual(['a'])
    expect(quarantined(home, 'containers')).toMatchObject([{ name: hashed('x'), content: 'rubbish' }])
  })

  it('leaves everything where it is on a read-only file system', async () => {
    using disk = mountTmpfs(home, 'size=1m,mode=711')
    const file = plant(home, 'containers.json', JSON.stringify({ entries: [row('a'), null] }))
    execFileSync('mount', ['-o', 'remount,ro', home])
    const run = await doctor(home, ['--fix', ...ONLY])
    expect(run.code).not.toBe(0)
    expect(existsSync(file)).toBe(true)
    expect(disk).toBeDefined()
  })

  it('tells what it cannot read instead of calling it empty', async () => {
    const file = plant(home, 'containers.json', JSON.stringify({ entries: [row('a')] }))
    const nobody = 65_534
    chownSync(home, nobody, nobody)
    const before = ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups']
    const run = await doctor(home, ONLY, { before })
    expect(run).toMatchObject({ code: 1 })
    expect(run.report.findings).toMatchObject([{ severity: 'unverified', path: file, hint: `ls -ld ${file}` }])
  })
})

describe('migration that is killed', () => {
  /** What a home holds afterwards, whenever and however often the migration was killed. */
  const state = async (dir: string) => ({
    containers: await registered(dir, 'containers'),
    browsers: await registered(dir, 'browsers'),
    quarantine: [...quarantined(dir, 'containers'), ...quarantined(dir, 'browsers')],
    left: readdirSync(dir)
      .filter((name) => name !== 'gateway.lock')
      .sort(),
  })

  function plantAll(dir: string): void {
    const rows = (from: string) =>
      Array.from({ length: 40 }, (_, index) => (index % 7 === 3 ? { bad: index } : row(`${from}-${index}`)))
    plant(dir, 'containers.json', JSON.stringify({ entries: rows('mono') }))
    plant(dir, 'browsers.json', `${JSON.stringify({ entries: rows('web') }).slice(0, -9)}`)
    for (const name of Array.from({ length: 40 }, (_, index) => `shard-${index}`)) {
      plant(dir, join('containers', hashed(name)), name.endsWith('5') ? '{"containerName":' : JSON.stringify(row(name)))
    }
    plant(dir, 'containers.json.lock', '4194304')
  }

  it('ends in the same state as one that was not, after any number of kills at random', async () => {
    const whole = makeHome()
    plantAll(whole)
    expect(await doctor(whole, ['--fix', ...ONLY])).toMatchObject({ code: 0 })
    const expected = await state(whole)
    expect(Object.keys(expected.containers)).toHaveLength(34 + 36)
    let killed = 0
    for (let round = 0; round < 12; round += 1) {
      const dir = makeHome()
      plantAll(dir)
      for (let kill = 0; kill < 5; kill += 1) {
        const controller = new AbortController()
        const ended = doctor(dir, ['--fix', ...ONLY], { signal: controller.signal })
        await Promise.race([firstWork(dir), ended])
        await Promise.race([delay(Math.random() * 120), ended])
        controller.abort()
        if ((await ended).code === null) killed += 1
      }
      expect(await doctor(dir, ['--fix', ...ONLY])).toMatchObject({ code: 0 })
      expect(relative(await state(dir), dir)).toEqual(relative(expected, whole))
      rmSync(dir, { recursive: true })
    }
    expect(killed).toBeGreaterThan(12)
  }, 300_000)

  it('loses nothing while it is killed: at any moment every entry is in its source or in the registry', async () => {
    const dir = makeHome()
    const names = Array.from({ length: 60 }, (_, index) => `shard-${index}`)
    for (const name of names) plant(dir, join('containers', hashed(name)), JSON.stringify(row(name)))
    for (let kill = 0; kill < 6; kill += 1) {
      const controller = new AbortController()
      const ended = doctor(dir, ['--fix', ...ONLY], { signal: controller.signal })
      await Promise.race([firstWork(dir), ended])
      await Promise.race([delay(Math.random() * 80), ended])
      controller.abort()
      await ended
      const moved = await registered(dir, 'containers')
      for (const name of names) {
        const there = existsSync(join(dir, 'containers', hashed(name)))
        expect(there || moved[name] !== undefined, name).toBe(true)
      }
    }
  }, 120_000)

  /** Resolves when the registry of a home has begun to fill: before that a kill proves nothing. */
  async function firstWork(dir: string): Promise<void> {
    while (!existsSync(join(dir, 'registry'))) await delay(2)
  }

  /** Paths of a home, wherever it is. */
  function relative(value: object, dir: string): unknown {
    return JSON.parse(JSON.stringify(value).replaceAll(dir, 'HOME'))
  }
})

describe('the doctor', () => {
  it('does the same twice, and the second time nothing at all', async () => {
    plant(home, 'containers.json', JSON.stringify({ entries: [row('a'), 'bad'] }))
    expect(await doctor(home, ['--fix', ...ONLY])).toMatchObject({ code: 0 })
    const before = snapshot(home)
    const second = await doctor(home, ['--fix', ...ONLY])
    expect(second).toMatchObject({ code: 0, stderr: '' })
    expect(snapshot(home)).toEqual(before)
  })

  it('lets only one repair a home at a time', async () => {
    for (let index = 0; index < 200; index += 1)
      plant(home, join('containers', hashed(`x${index}`)), JSON.stringify(row(`x${index}`)))
    const runs = await Promise.all([doctor(home, ['--fix', ...ONLY]), doctor(home, ['--fix', ...ONLY])])
    for (const { code, stderr } of runs) expect([0, 2].includes(code ?? -1), stderr).toBe(true)
    expect(Object.keys(await registered(home, 'containers'))).toHaveLength(200)
  })

  it('answers 2 when it could not run', async () => {
    for (const args of [['--nonsense'], ['--only', 'no/such'], ['--yes'], ['surplus']]) {
      expect(await doctor(home, args)).toMatchObject({ code: 2 })
    }
  })
})
