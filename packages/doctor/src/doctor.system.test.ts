import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeBusyboxArchive } from '@coppice/images/testing'
import { homeAt } from '@coppice/protocol/home'
import { FileRegistry } from '@coppice/registry'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { hierarchies, removeHomeGroups, sandboxGroups } from './host/cgroups.ts'
import { mounts } from './host/mounts.ts'
import { CoppiceCommand } from './testing/gateway.ts'
import { doctor, hashed, makeHome, plant, quarantined, registered, snapshot } from './testing/home.ts'
import { mountTmpfs } from './testing/mounted.ts'

let home: string
let coppice: CoppiceCommand
beforeEach(() => {
  home = makeHome()
  chmodSync(join(home, '..'), 0o755)
  coppice = new CoppiceCommand(home)
})
afterEach(async () => {
  if (existsSync(join(home, 'gateway.json'))) await coppice.run('gateway', 'stop')
  for (const { point } of (await mounts()).filter(({ point }) => point.startsWith(home))) {
    spawnSync('umount', ['--lazy', point])
  }
  spawnSync('ip', ['netns', 'delete', `coppice-${homeAt(home).hash}-sb-lost`])
  await removeHomeGroups(homeAt(home).hash).catch(() => undefined)
  rmSync(homeAt(home).run, { recursive: true, force: true })
  rmSync(join(home, '..'), { recursive: true, force: true })
})

/** Checks about the home, not about which engines this machine has. */
const OWN = [
  'state/folder',
  'registry/entries',
  'registry/leftovers',
  'legacy/lock-files',
  'legacy/containers',
  'legacy/browsers',
  'drift/missing-resources',
  'drift/orphaned-resources',
  'leaks/mounts',
  'leaks/cgroups',
  'leaks/socket-folders',
  'leaks/network-namespaces',
].flatMap((id) => ['--only', id])

const row = (name: string) => ({
  containerName: name,
  createdAtMs: 1,
  lastUsedAtMs: 2,
  image: 'i',
  sessionKey: 's',
  configHash: 'h',
})

describe('a machine with every damage', () => {
  it('is told each one, repaired as far as can be, and the same the second time; nothing good is lost', async () => {
    const { run, hash } = homeAt(home)
    const registry = await FileRegistry.open(join(home, 'registry'))
    const sandboxes = registry.kind('sandboxes')
    await sandboxes.put('sb-good', { id: 'sb-good', driver: 'process', state: 'stopped' })
    mkdirSync(join(home, 'drivers/process/sb-good'), { recursive: true })
    await sandboxes.put('sb-vanished', { id: 'sb-vanished', driver: 'oci', state: 'running' })
    await sandboxes.put('sb-ended', { id: 'sb-ended', driver: 'oci', state: 'removed' })
    await registry.kind('containers').put('present', { mine: true })
    const inKind = (name: string) => join('registry/sandboxes', name)
    const old = (path: string) => {
      utimesSync(path, 1_000_000, 1_000_000)
      return path
    }
    const future = plant(home, inKind(hashed('later')), JSON.stringify({ schema: 99, id: 'later' }))
    const alive = plant(home, 'browsers/x.lock', JSON.stringify({ pid: process.pid }))
    const damages = [
      plant(home, inKind(hashed('corrupt')), '{"schema":1'),
      plant(home, inKind(hashed('empty')), ''),
      plant(home, inKind(hashed('misnamed')), readFileSync(join(home, inKind(hashed('sb-good'))))),
      old(plant(home, inKind(`${hashed('x').slice(0, 64)}.${'a'.repeat(32)}.new`), 'half')),
      plant(
        home,
        'containers.json',
        `{"entries":[${JSON.stringify(row('one'))},{"broken":1},${JSON.stringify(row('present'))}]}`,
      ),
      plant(home, 'browsers.json', `{"entries":[${JSON.stringify(row('web'))},{"cut`),
      plant(home, join('containers', hashed('bad')), 'no json'),
      plant(home, 'containers.json.lock', '{"pid":4194304}'),
    ]
    plant(home, join('containers', hashed('two')), JSON.stringify(row('two')))
    plant(home, 'drivers/process/sb-orphan/record.json', '{}')
    const mountPoint = join(home, 'drivers/oci/sb-ended/merged')
    mkdirSync(mountPoint, { recursive: true })
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', mountPoint])
    const [{ point = '' } = {}] = await hierarchies()
    const cgroup = `${point}/coppice/${hash}/sb-lost`
    mkdirSync(cgroup, { recursive: true })
    const socketFolder = join(run, 'sb-lost')
    mkdirSync(socketFolder, { recursive: true })
    const namespace = `/run/netns/coppice-${hash}-sb-lost`
    execFileSync('ip', ['netns', 'add', `coppice-${hash}-sb-lost`])
    chmodSync(join(home, 'registry'), 0o755)
    damages.push(join(home, 'drivers/process/sb-orphan'), join(home, 'drivers/oci/sb-vanished'), mountPoint)
    damages.push(cgroup, socketFolder, namespace, join(home, 'registry'), future, alive)

    const before = snapshot(home)
    const found = await doctor(home, OWN)
    expect(snapshot(home)).toEqual(before)
    expect(found.code).toBe(1)
    const told = found.report.findings.map(({ path }) => path)
    for (const path of damages) expect(told, path).toContain(path)
    for (const { hint, message } of found.report.findings) {
      expect(hint, message).toMatch(/\S/)
      expect(hint).not.toMatch(/coppice doctor/)
    }

    const dry = await doctor(home, ['--dry-run', ...OWN])
    expect(dry).toMatchObject({ code: 1, stderr: expect.stringContaining('would: Move the entry "two"') })
    expect(snapshot(home)).toEqual(before)

    const fixed = await doctor(home, ['--fix', '--yes', ...OWN])
    expect(fixed.code).toBe(1)
    // What only its owner can settle: a newer version's entry, and a lock that a living process holds.
    expect(new Set(fixed.report.findings.map(({ path }) => path))).toEqual(new Set([future, alive]))
    const good = await registered(home, 'sandboxes')
    expect(good).toMatchObject({
      'sb-good': { state: 'stopped' },
      'sb-vanished': { state: 'failed', end: { reason: 'vanished' } },
    })
    const containers = await registered(home, 'containers')
    expect(Object.keys(containers)).toEqual(['one', 'present', 'two'])
    expect(containers.present).toEqual({ mine: true })
    expect(await registered(home, 'browsers')).toMatchObject({ web: { foreign: true, sessionKey: 's' } })
    expect(quarantined(home, 'containers').map(({ content }) => content)).toEqual(
      expect.arrayContaining(['no json', '{"broken":1}', JSON.stringify(row('present'))]),
    )
    expect(quarantined(home, 'sandboxes').map(({ content }) => content)).toEqual(
      expect.arrayContaining(['{"schema":1', '']),
    )
    expect([cgroup, socketFolder, namespace].map((path) => existsSync(path))).toEqual([false, false, false])
    expect((await mounts()).filter((mount) => mount.point === mountPoint)).toEqual([])

    const settled = snapshot(home)
    const again = await doctor(home, ['--fix', '--yes', ...OWN])
    expect(again.report).toEqual(fixed.report)
    expect(again.stderr).toBe('')
    expect(snapshot(home)).toEqual(settled)
  }, 180_000)
})

describe('a look', () => {
  it('writes nothing, whatever there is to see, and leaves nothing on the machine', async () => {
    await coppice.start({ ownBundle: true })
    await coppice.run('create', '--from', 'busybox', '--name', 'box')
    await coppice.run('gateway', 'stop')
    plant(home, 'containers.json', '{"entries":[1]}')
    plant(home, 'containers.json.lock', '')
    const nonce = 'a'.repeat(32)
    plant(home, join('registry/sandboxes', `${hashed('x').slice(0, 64)}.${nonce}.next`), 'half')
    const before = snapshot(home)
    const { report } = await doctor(home, [])
    expect(report.checksRun).toBeGreaterThan(25)
    expect(snapshot(home)).toEqual(before)
    expect((await mounts()).filter(({ point }) => point.includes('/coppice-trial-'))).toEqual([])
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith('coppice-trial-'))).toEqual([])
    await coppice.run('rm', 'box')
  }, 180_000)

  it('makes no home where there is none', async () => {
    const nowhere = join(home, 'nope')
    const { code } = await doctor(nowhere, [])
    expect([0, 1]).toContain(code)
    await doctor(nowhere, ['--fix', '--yes', ...OWN])
    expect(existsSync(nowhere)).toBe(false)
  }, 60_000)
})

describe('a real sandbox', () => {
  it('that is running is in order, with and without its gateway', async () => {
    await coppice.start()
    const id = await coppice.run('create', '--from', 'busybox')
    const related = [
      'drift/missing-resources',
      'drift/orphaned-resources',
      'leaks/mounts',
      'leaks/socket-folders',
      'gateway/version',
    ]
    const only = related.flatMap((check) => ['--only', check])
    expect(await doctor(home, only)).toMatchObject({ code: 0 })
    await coppice.run('gateway', 'stop')
    expect(await doctor(home, only)).toMatchObject({ code: 0 })
    await coppice.run('rm', id)
    expect(await doctor(home, only)).toMatchObject({ code: 0 })
  }, 120_000)

  it('that nobody has registered is removed with all it holds, when that was asked for', async () => {
    await coppice.start()
    const id = await coppice.run('create', '--from', 'busybox')
    await coppice.run('gateway', 'stop')
    await (await FileRegistry.open(join(home, 'registry'))).kind('sandboxes').remove(id)
    const only = ['--only', 'drift/orphaned-resources']
    const path = join(home, 'drivers/oci', id)
    const found = await doctor(home, only)
    expect(found.report.findings).toMatchObject([
      { path, fixable: true, message: expect.stringMatching(/\d+ processes run/) },
    ])
    expect(await doctor(home, ['--fix', ...only])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('not done without --yes'),
    })
    expect(existsSync(path)).toBe(true)
    expect(await doctor(home, ['--fix', '--yes', ...only])).toMatchObject({ code: 0 })
    expect(existsSync(path)).toBe(false)
    expect((await mounts()).filter(({ point }) => point.startsWith(path))).toEqual([])
    expect((await sandboxGroups(homeAt(home).hash)).get(id)?.pids ?? []).toEqual([])
  }, 120_000)
})

describe('a container of an engine', () => {
  it('that nobody has registered is told, and removed when that was asked for', async (ctx) => {
    if (spawnSync('podman', ['info']).status !== 0) return ctx.skip('podman does not work here')
    const name = `coppice-${homeAt(home).hash}-sb-lost`
    const image = `localhost/coppice-doctor-${homeAt(home).hash}`
    const archive = await makeBusyboxArchive(join(home, '..', 'podman.tar'))
    execFileSync('podman', ['import', archive, image], { stdio: 'ignore' })
    try {
      execFileSync('podman', ['create', '--name', name, '--label', 'coppice.sandbox=sb-lost', image, 'true'])
      const only = ['--only', 'drift/orphaned-resources']
      const found = await doctor(home, only)
      expect(found.report.findings).toMatchObject([
        { path: `podman:${name}`, fixable: true, hint: `podman inspect ${name}` },
      ])
      expect(await doctor(home, ['--fix', ...only])).toMatchObject({ code: 1 })
      expect(await doctor(home, ['--fix', '--yes', ...only])).toMatchObject({ code: 0 })
      expect(spawnSync('podman', ['container', 'exists', name]).status).toBe(1)
    } finally {
      spawnSync('podman', ['rm', '--force', name])
      spawnSync('podman', ['rmi', '--force', image])
    }
  }, 120_000)
})

describe('the gateway', () => {
  it('never reads, changes or migrates the legacy registry, and never ends what was migrated', async () => {
    const legacy = join(home, 'containers')
    plant(home, join('containers', hashed('a')), JSON.stringify(row('a')))
    const files = [
      plant(home, 'containers.json', JSON.stringify({ entries: [row('b'), 'bad'] })),
      plant(home, 'browsers.json', 'rubbish'),
      plant(home, 'containers.json.lock', '4194304'),
    ]
    const untouched = () => [snapshot(legacy), files.map((file) => snapshot(file))]
    const before = untouched()
    await coppice.start()
    const id = await coppice.run('create', '--from', 'busybox')
    await coppice.run('rm', id)
    expect(untouched()).toEqual(before)

    const only = ['--only', 'legacy/containers', '--only', 'legacy/browsers', '--only', 'legacy/lock-files']
    expect(await doctor(home, ['--fix', ...only])).toMatchObject({ code: 0 })
    const migrated = await registered(home, 'containers')
    expect(Object.keys(migrated)).toEqual(['a', 'b'])
    await coppice.run('gateway', 'stop')
    await coppice.run('gateway', 'start')
    expect(await coppice.run('ls', '--json')).not.toContain('"a"')
    expect(await registered(home, 'containers')).toEqual(migrated)
  }, 120_000)
})

describe('the command', () => {
  it('passes options and exit status through, and has a page of help', async () => {
    expect(await coppice.run('doctor', '--only', 'runtimes/node', '--json')).toContain('"checksRun": 1')
    await expect(coppice.run('doctor', '--only', 'no/such')).rejects.toMatchObject({ code: 2 })
    plant(home, 'config.json', '{')
    await expect(coppice.run('doctor', '--only', 'state/config-file')).rejects.toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^error +state\/config-file: .*\n +next +cat /),
    })
    expect(await coppice.run('doctor', '--help')).toContain('--dry-run')
    expect(await coppice.run('--help')).toMatch(/^ {2}doctor/m)
  }, 60_000)

  it('measures this machine beside the promised figures', async () => {
    await coppice.start()
    const archive = join(home, '..', 'busybox.tar')
    await coppice.run('image', 'import', archive, '--name', 'base')
    const figures = JSON.parse(await coppice.run('doctor', '--bench', '--json')) as {
      p50: number
      p95: number
      promised: string
    }[]
    expect(figures.slice(0, 2)).toEqual([
      expect.objectContaining({
        p50: expect.any(Number),
        p95: expect.any(Number),
        promised: expect.stringContaining('docker'),
      }),
      expect.objectContaining({
        p50: expect.any(Number),
        p95: expect.any(Number),
        promised: expect.stringContaining('docker'),
      }),
    ])
    expect(JSON.parse(await coppice.run('ls', '--json'))).toEqual([])
  }, 180_000)
})

describe('runtimes', () => {
  const only = (...ids: string[]) => ids.flatMap((id) => ['--only', id])

  it('that work are in order because something was run', async () => {
    const ids = only(
      'runtimes/node',
      'runtimes/runc',
      'runtimes/overlay',
      'runtimes/user-namespaces',
      'runtimes/cgroups',
    )
    expect(await doctor(home, ids)).toMatchObject({ code: 0, report: { ok: true, checksRun: 5 } })
  }, 60_000)

  it('that are there and do not run are told: a runc that fails, an nft that fails', async () => {
    const bin = join(home, 'bin')
    for (const program of ['runc', 'nft', 'crun'])
      plant(home, join('bin', program), '#!/bin/sh\necho "broken on purpose" >&2\nexit 1\n', 0o755)
    const env = { PATH: `${bin}:${process.env.PATH}` }
    const run = await doctor(home, only('runtimes/runc', 'runtimes/crun', 'host/network-tools'), { env })
    expect(run.report.findings.map(({ checkId }) => checkId)).toEqual([
      'runtimes/runc',
      'runtimes/crun',
      'host/network-tools',
    ])
    expect(run.report.findings.map(({ hint }) => hint).join()).not.toContain('coppice doctor')
  }, 60_000)

  it('a bundle that is damaged is told', async () => {
    await coppice.start({ ownBundle: true })
    const id = await coppice.run('create', '--from', 'busybox')
    await coppice.run('rm', id)
    expect(await doctor(home, only('runtimes/bundle'))).toMatchObject({ code: 0 })
    const [bundle = ''] = execFileSync('sh', ['-c', `ls -d ${home}/runtime/[0-9a-f]*`])
      .toString()
      .trim()
      .split('\n')
    writeFileSync(join(bundle, 'supervisor.mjs'), 'x')
    const run = await doctor(home, only('runtimes/bundle'))
    expect(run.report.findings).toMatchObject([
      { severity: 'error', path: bundle, hint: `mv ${bundle} ${bundle}.damaged` },
    ])
  }, 60_000)
})

describe('room', () => {
  it('that is short is told: bytes, inodes, memory', async () => {
    using _disk = mountTmpfs(home, 'size=16m,nr_inodes=64,mode=711')
    const run = await doctor(home, ['--only', 'state/free-room', '--only', 'state/file-system'])
    expect(run.report.findings.map(({ checkId, severity }) => `${checkId} ${severity}`)).toEqual([
      'state/free-room error',
      'state/free-room error',
      'state/file-system warning',
    ])
  })
})
