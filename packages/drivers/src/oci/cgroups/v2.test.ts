import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { cpuQuota, cpuShares, cpuWeight } from './cpu.ts'
import { CgroupsV2 } from './v2.ts'

/**
 * What is written and read, over ordinary files in the kernel's formats. How a kernel takes it is shown by the driver's
 * contract on a version 2 host.
 */
describe('cgroups of version 2', () => {
  const home = '/coppice/0123abcd'
  const uid = process.getuid?.() ?? 0
  let mount: string
  let cgroups: CgroupsV2
  const group = (...names: string[]): string => join(mount, home, 'sb-1', ...names)
  const read = (path: string): string => readFileSync(path, 'utf8')

  beforeEach(() => {
    mount = mkdtempSync(join(tmpdir(), 'coppice-cgroup2-'))
    cgroups = new CgroupsV2(mount, home)
    for (const folder of ['init', 'execs']) mkdirSync(group(folder), { recursive: true })
    for (const folder of [mount, join(mount, 'coppice'), join(mount, home), group(), group('execs')]) {
      writeFileSync(join(folder, 'cgroup.subtree_control'), '')
      writeFileSync(join(folder, 'cgroup.procs'), '')
      writeFileSync(join(folder, 'cgroup.threads'), '')
    }
    writeFileSync(group('cgroup.controllers'), 'cpuset cpu io memory pids\n')
  })
  afterEach(() => rmSync(mount, { recursive: true }))

  test('are named by home and sandbox', () => {
    expect(cgroups.runcPath('sb-1')).toBe('/coppice/0123abcd/sb-1')
    expect(cgroups.ids()).toEqual(['sb-1'])
  })

  test('are bounded, and refused without the controllers that limits need', async () => {
    await cgroups.prepare('sb-1', uid)
    expect(read(group('cgroup.max.depth'))).toBe('16')
    expect(read(group('cgroup.max.descendants'))).toBe('16384')
    writeFileSync(group('cgroup.controllers'), 'cpu\n')
    await expect(cgroups.prepare('sb-1', uid)).rejects.toMatchObject({
      reason: 'cgroup_controllers_missing',
      facts: { missing: ['memory', 'pids'] },
    })
  })

  test('hold a sandbox still as a whole, and leave alone what it has frozen itself', async () => {
    const still = (frozen: number) => writeFileSync(group('cgroup.events'), `populated 1\nfrozen ${frozen}\n`)
    writeFileSync(group('execs', 'cgroup.freeze'), '1')
    still(1)
    await cgroups.freeze('sb-1', Progress.none())
    expect(read(group('cgroup.freeze'))).toBe('1')
    cgroups.unfreeze('sb-1')
    expect([read(group('cgroup.freeze')), read(group('execs', 'cgroup.freeze'))]).toEqual(['0', '1'])
    still(0)
    const progress = new Progress({ timeoutMs: 5 })
    await expect(cgroups.freeze('sb-1', progress)).rejects.toMatchObject({ code: 'deadline_exceeded' })
    expect(read(group('cgroup.freeze'))).toBe('0')
  })

  test('hand controllers down every step, and to the execs only when the init has left the middle', async () => {
    await cgroups.prepare('sb-1', uid)
    for (const folder of [mount, join(mount, 'coppice'), join(mount, home)]) {
      // Each write replaces the file here; the kernel adds up.
      expect(read(join(folder, 'cgroup.subtree_control'))).toBe('+cpu')
    }
    expect(read(group('cgroup.subtree_control'))).toBe('')
    cgroups.adopt('sb-1', 4711)
    expect(read(group('init', 'cgroup.procs'))).toBe('4711')
    expect(read(group('cgroup.subtree_control'))).toBe('+cpu')
    expect(read(group('execs', 'cgroup.subtree_control'))).toBe('+cpu')
  })

  test('mount only the delegated part', () => {
    expect(cgroups.mounts('sb-1')).toMatchObject([
      { destination: '/.coppice-cgroup', source: group('execs'), type: 'bind' },
    ])
  })

  test('tell use and OOM kills', () => {
    writeFileSync(group('memory.current'), '1048576\n')
    writeFileSync(group('memory.peak'), '2097152\n')
    writeFileSync(group('memory.max'), '134217728\n')
    writeFileSync(group('cpu.stat'), 'usage_usec 1500000\nuser_usec 1\n')
    writeFileSync(group('pids.current'), '7\n')
    writeFileSync(group('pids.max'), 'max\n')
    writeFileSync(group('cpu.max'), '150000 100000\n')
    writeFileSync(group('memory.events'), 'low 0\noom 3\noom_kill 2\noom_group_kill 0\n')
    writeFileSync(group('init', 'memory.events'), 'oom_kill 1\n')
    expect(cgroups.use('sb-1')).toMatchObject({
      memoryBytes: 1_048_576,
      memoryPeakBytes: 2_097_152,
      memoryLimitBytes: 134_217_728,
      cpuSeconds: 1.5,
      pids: 7,
      pidsLimit: null,
      cpusLimit: 1.5,
      oomKills: 2,
    })
    expect(cgroups.initOomKills('sb-1')).toBe(1)
    expect(cgroups.initOomKills('sb-2')).toBe(0)
    expect(cgroups.use('sb-2')).toMatchObject({ memoryBytes: null, cpuSeconds: null, oomKills: null })
  })

  test('limits are given to runc in its words', () => {
    expect(cgroups.resources({ memoryMB: 512, cpus: 1.5, pids: 100 })).toEqual({
      memory: { limit: 536_870_912, swap: 536_870_912 },
      cpu: { quota: 150_000, period: 100_000 },
      pids: { limit: 100 },
      unified: { 'cpu.weight': '59' },
    })
  })

  describe('of a sandbox that gets other limits', () => {
    const names = ['cpu.max', 'cpu.weight', 'pids.max', 'memory.max', 'memory.high']
    const before = ['100000 100000', '39', '128', String(256 * 1024 * 1024), 'max']
    const texts = () => names.map((name) => read(group(name)).trim())

    beforeEach(() => {
      for (const [at, name] of names.entries()) writeFileSync(group(name), `${before[at]}\n`)
      writeFileSync(group('memory.current'), `${100 * 1024 * 1024}\n`)
    })

    test.each([512, 128])('say them, and hold no memory back afterwards: %i MiB', async (memoryMB) => {
      await cgroups.resize('sb-1', { memoryMB, cpus: 1.5, pids: 64 }, Progress.none())
      expect(texts()).toEqual(['150000 100000', '59', '64', String(memoryMB * 1024 * 1024), 'max'])
    })

    test('say what they said before when more memory is in use', async () => {
      await expect(
        cgroups.resize('sb-1', { memoryMB: 99, cpus: 1.5, pids: 64 }, Progress.none()),
      ).rejects.toMatchObject({
        code: 'failed_precondition',
        reason: 'limits_refused',
        message: 'The limits of sb-1 were not changed: it uses 100 MiB of memory and would have 99 MiB.',
      })
      expect(texts()).toEqual(before)
    })

    test('say what they said before when one of them cannot be written', async () => {
      rmSync(group('memory.max'))
      mkdirSync(group('memory.max'))
      await expect(cgroups.resize('sb-1', { memoryMB: 512, cpus: 2, pids: 64 }, Progress.none())).rejects.toMatchObject(
        { reason: 'limits_refused' },
      )
      rmSync(group('memory.max'), { recursive: true })
      writeFileSync(group('memory.max'), before[3] as string)
      expect(texts()).toEqual(before)
    })

    test('say what they said before when the caller does not wait any longer', async () => {
      const progress = new Progress({ signal: AbortSignal.abort() })
      await expect(cgroups.resize('sb-1', { memoryMB: 512, cpus: 2, pids: 64 }, progress)).rejects.toMatchObject({
        code: 'cancelled',
      })
      expect(texts()).toEqual(before)
    })
  })
})

test('CPU figures stay within what the kernel takes', () => {
  expect(cpuQuota(0.001)).toBe(1000)
  expect([cpuShares(0.001), cpuShares(1), cpuShares(4096)]).toEqual([2, 1024, 262_144])
  expect([cpuWeight(0.001), cpuWeight(1), cpuWeight(4096)]).toEqual([1, 39, 10_000])
})
