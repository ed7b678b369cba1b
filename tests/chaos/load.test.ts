import type { Sandbox } from '@coppice/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openFiles, residentBytes } from '../support/host.ts'
import { openWorld, type World } from '../support/world.ts'

const MiB = 1024 * 1024

let world: World
beforeAll(async () => {
  world = await openWorld({ session: { leaseMs: 2_000, boundMs: 60_000 } })
}, 300_000)
afterAll(() => world?.dispose())

describe('50 sandboxes with 20 quiet execs each', () => {
  it('deliver 1,000 of 1,000 results right when all sessions are reset at once', { timeout: 600_000 }, async () => {
    const sandboxes = await world.createMany(50, { memoryMB: 128 })
    const links = await Promise.all(sandboxes.map((sandbox) => world.interpose(sandbox)))
    const results = sandboxes.flatMap((sandbox, s) =>
      Array.from({ length: 20 }, async (_, e) => {
        const exec = await sandbox.spawn(
          `while [ ! -e /tmp/go ]; do usleep 200000; done; echo ${s}/${e}; exit ${(s + e) % 100}`,
        )
        await exec.started
        return { s, e, exec }
      }),
    )
    const execs = await Promise.all(results)
    const opened = links.map((link) => link.opened)
    for (const link of links) link.cut()
    await world.until(
      () => links.every((link, at) => link.opened > (opened[at] ?? 0)),
      'all sessions to be back',
      60_000,
    )
    await Promise.all(sandboxes.map((sandbox) => sandbox.files.write('/tmp/go', '')))
    for (const { s, e, exec } of execs) {
      let output = ''
      for await (const chunk of exec.output) if ('bytes' in chunk) output += chunk.bytes.toString()
      expect(output).toBe(`${s}/${e}\n`)
      expect((await exec.result).exitCode).toBe((s + e) % 100)
    }
    expect(execs).toHaveLength(1000)
    for (const link of links) link.dispose()
    await Promise.all(sandboxes.map((sandbox) => sandbox.remove()))
  })
})

describe('one sandbox', () => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = await world.create()
  })
  afterAll(() => sandbox?.remove())

  it('is back at its base line after 1,000 resets in a row', { timeout: 900_000 }, async () => {
    const link = await world.interpose(sandbox)
    const reset = async () => {
      const opened = link.opened
      const exec = await sandbox.spawn('echo quiet; usleep 1000', { signal: AbortSignal.timeout(60_000) })
      await exec.started
      link.cut()
      await exec.result
      await world.until(() => link.opened > opened, 'the supervisor to dial again', 20_000)
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
    const after = await measure()
    expect(after.running).toBe(0)
    expect(after.streams).toBeLessThanOrEqual(before.streams)
    expect(after.supervisorFiles - before.supervisorFiles).toBeLessThanOrEqual(4)
    expect(after.gatewayFiles - before.gatewayFiles).toBeLessThanOrEqual(4)
    expect(after.supervisorBytes - before.supervisorBytes).toBeLessThan(24 * MiB)
    expect(after.gatewayBytes - before.gatewayBytes).toBeLessThan(48 * MiB)
    link.dispose()
  })
})
