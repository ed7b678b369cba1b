import type { Sandbox } from '@coppice/sdk'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openFiles, residentBytes } from '../support/host.ts'
import { openWorld, type World } from '../support/world.ts'

const MiB = 1024 * 1024

let world: World
let sandbox: Sandbox
beforeAll(async () => {
  world = await openWorld({ session: { leaseMs: 2_000, boundMs: 60_000 } })
  sandbox = await world.create()
})
afterAll(() => world?.dispose())

it('a sandbox is back at its base line, and its gateway too, after 1,000 resets in a row', {
  timeout: 900_000,
}, async () => {
  const link = await world.interpose(sandbox)
  const reset = async () => {
    const opened = link.opened
    const exec = await sandbox.spawn('echo quiet; usleep 1000', { signal: AbortSignal.timeout(60_000) })
    await exec.started
    link.cut()
    await exec.result
    await world.until(() => link.opened > opened, 'the supervisor to dial again')
  }
  const measure = async () => {
    const info = await sandbox.supervisor()
    return {
      supervisorFiles: openFiles(world.supervisorPid(sandbox)),
      gatewayFiles: openFiles(world.gateway.pid),
      supervisorBytes: residentBytes(world.supervisorPid(sandbox)),
      gatewayBytes: residentBytes(world.gateway.pid),
      streams: info.openStreams,
      running: info.execs.running,
    }
  }
  for (let warm = 0; warm < 50; warm += 1) await reset()
  const before = await measure()
  for (let time = 0; time < 1000; time += 1) await reset()
  // The last answer's stream is closed a moment after its reader has all of it.
  const streams = async () => (await measure()).streams
  await expect.poll(streams, { timeout: 30_000 }).toBeLessThanOrEqual(before.streams)
  const after = await measure()
  expect(after.running).toBe(0)
  expect(after.supervisorFiles - before.supervisorFiles).toBeLessThanOrEqual(4)
  expect(after.gatewayFiles - before.gatewayFiles).toBeLessThanOrEqual(4)
  expect(after.supervisorBytes - before.supervisorBytes).toBeLessThan(24 * MiB)
  expect(after.gatewayBytes - before.gatewayBytes).toBeLessThan(48 * MiB)
  link.dispose()
})
