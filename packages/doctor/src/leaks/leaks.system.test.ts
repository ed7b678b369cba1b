import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { homeAt } from '@coppice/protocol/home'
import { FileRegistry } from '@coppice/registry'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { hierarchies, removeHomeGroups } from '../host/cgroups.ts'
import { mounts } from '../host/mounts.ts'
import { detectAll, repairAll } from '../runner.ts'
import { CountingClock } from '../testing/clock.ts'
import { makeHome, surroundings } from '../testing/home.ts'
import { leakedCgroupsCheck } from './cgroups.ts'
import { leakedMountsCheck } from './mounts.ts'
import { leakedNetworkNamespacesCheck } from './network-namespaces.ts'
import { leakedSocketFoldersCheck } from './socket-folders.ts'

const CHECKS = [leakedMountsCheck, leakedCgroupsCheck, leakedSocketFoldersCheck, leakedNetworkNamespacesCheck]

let home: string
let leaked: { mount: string; cgroup: string; folder: string; namespace: string }
beforeEach(async () => {
  home = makeHome()
  const { run, hash } = homeAt(home)
  const registry = await FileRegistry.open(join(home, 'registry'))
  await registry.kind('sandboxes').put('sb-ended', { id: 'sb-ended', driver: 'oci', state: 'stopped' })
  const [{ point = '' } = {}] = await hierarchies()
  leaked = {
    mount: join(home, 'drivers/oci/sb-ended/merged'),
    cgroup: `${point}/coppice/${hash}/sb-lost`,
    folder: join(run, 'sb-lost'),
    namespace: `/run/netns/coppice-${hash}-sb-lost`,
  }
  for (const path of [leaked.mount, leaked.cgroup, leaked.folder]) mkdirSync(path, { recursive: true })
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', leaked.mount])
  execFileSync('ip', ['netns', 'add', `coppice-${hash}-sb-lost`])
})
afterEach(async () => {
  const { run, hash } = homeAt(home)
  spawnSync('umount', ['--lazy', leaked.mount], { stdio: 'ignore' })
  spawnSync('ip', ['netns', 'delete', `coppice-${hash}-sb-lost`], { stdio: 'ignore' })
  await removeHomeGroups(hash)
  rmSync(run, { recursive: true, force: true })
})

it.each([
  { when: 'at once', ms: 0, waits: 0 },
  { when: 'a while', ms: 10 * 60_000, waits: 1 },
])('leaks of every kind that are repaired $when after they were told wait $waits times', async ({ ms, waits }) => {
  const clock = new CountingClock()
  const around = surroundings(home, { clock })
  clock.sideBySide = CHECKS.length
  const found = await detectAll(CHECKS, around)
  clock.sideBySide = 1
  const paths = Object.values(leaked)
  expect(found.flatMap(({ findings }) => findings.map(({ path }) => path))).toEqual(paths)
  clock.pass(ms)
  const before = clock.waits
  const options = { dryRun: false, exclusive: true, consent: async () => false }
  const { checks, effects } = await repairAll(CHECKS, found, around, options)
  expect(effects.map(({ path, result }) => `${result} ${path}`)).toEqual(paths.map((path) => `done ${path}`))
  expect(checks.flatMap(({ findings }) => findings)).toEqual([])
  expect([leaked.cgroup, leaked.folder, leaked.namespace].filter((path) => existsSync(path))).toEqual([])
  expect((await mounts()).filter(({ point }) => point === leaked.mount)).toEqual([])
  expect(clock.waits - before).toBe(waits)
})
