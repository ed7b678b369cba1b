import { setTimeout as delay } from 'node:timers/promises'
import type { Sandbox } from '@coppice/sdk'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openWorld, type World } from '../support/world.ts'

/**
 * Milliseconds. Three processes keep this link up, and each must be given a core in good time for it to be a healthy one: on a
 * machine that has other things to do a tenth of a second is too short for that.
 */
const LEASE_MS = 300

describe(`with a lease of ${LEASE_MS} ms`, () => {
  let world: World
  let sandbox: Sandbox
  beforeAll(async () => {
    world = await openWorld({ session: { leaseMs: LEASE_MS, boundMs: 4_000 } })
  }, 300_000)
  afterAll(() => world?.dispose())
  beforeEach(async () => {
    sandbox = await world.create()
  })
  afterEach(() => sandbox?.remove())

  it('an exec that is silent for 100 leases on a healthy link is never cut and never timed out', async () => {
    const bootId = (await sandbox.supervisor()).bootId
    const link = await world.interpose(sandbox)
    const opened = link.opened
    const result = await sandbox.exec(`usleep ${105 * LEASE_MS * 1000}; echo still here`)
    expect(result).toMatchObject({ exitCode: 0, timedOut: false, stdout: 'still here\n' })
    expect(link.opened).toBe(opened)
    expect((await sandbox.supervisor()).bootId).not.toBe(bootId)
    link.dispose()
  })

  it('a supervisor that is stopped for two leases and continued loses nothing', async () => {
    const exec = await sandbox.spawn(`usleep ${6 * LEASE_MS * 1000}; echo done; exit 3`)
    await exec.started
    const pid = world.supervisorPid(sandbox)
    process.kill(pid, 'SIGSTOP')
    await delay(2 * LEASE_MS)
    process.kill(pid, 'SIGCONT')
    let output = ''
    for await (const chunk of exec.output) if ('bytes' in chunk) output += chunk.bytes.toString()
    expect(output).toBe('done\n')
    expect(await exec.result).toMatchObject({ exitCode: 3 })
    expect(await sandbox.exec(['true'])).toMatchObject({ exitCode: 0 })
  })

  it('calls to a supervisor that stays stopped fail typed within the bound, and work again afterwards', async () => {
    const pid = world.supervisorPid(sandbox)
    process.kill(pid, 'SIGSTOP')
    try {
      const startedAt = Date.now()
      await expect(sandbox.exec(['true'], { boundMs: 4_000 })).rejects.toMatchObject({ code: 'unavailable' })
      // The gateway's bound, and the SDK's own around it, with room for a slow machine.
      expect(Date.now() - startedAt).toBeLessThan(15_000)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    expect(await sandbox.exec(['echo', 'back'])).toMatchObject({ exitCode: 0, stdout: 'back\n' })
  })
})
