import { createHash } from 'node:crypto'
import type { Sandbox } from '@coppice/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { growthOf } from '../support/growth.ts'
import { openWorld, type World } from '../support/world.ts'

const MiB = 1024 * 1024
const SIZE = 2048 * MiB
/** What 2 GiB may add to gateway and supervisor, each. */
const CEILING = 64 * MiB

let world: World
let sandbox: Sandbox
beforeAll(async () => {
  world = await openWorld()
  sandbox = await world.create({ memoryMB: 4096, cpus: 2 })
  await sandbox.exec(['true'])
}, 300_000)
afterAll(() => world?.dispose())

const grows = (work: () => Promise<void>) =>
  growthOf({ gateway: world.gateway.pid, supervisor: world.supervisorPid(sandbox) }, work)

const expectFlat = (growth: { gateway: number; supervisor: number }) => {
  expect(growth.gateway).toBeLessThanOrEqual(CEILING)
  expect(growth.supervisor).toBeLessThanOrEqual(CEILING)
}

describe('2 GiB', { timeout: 180_000 }, () => {
  const hash = createHash('sha256')

  it('of exec output pass whole, in constant memory', async () => {
    let bytes = 0
    const growth = await grows(async () => {
      const argv = ['dd', 'if=/dev/zero', 'bs=64k', `count=${SIZE / 65_536}`, 'status=none']
      const exec = await sandbox.spawn(argv, { journal: 'block' })
      for await (const chunk of exec.output) if ('bytes' in chunk) bytes += chunk.bytes.length
    })
    expect(bytes).toBe(SIZE)
    expectFlat(growth)
  })

  it('of a file go in whole, in constant memory', async () => {
    const piece = Buffer.alloc(MiB, 'coppice')
    async function* source() {
      for (let sent = 0; sent < SIZE; sent += piece.length) {
        hash.update(piece)
        yield piece
      }
    }
    expectFlat(await grows(() => sandbox.files.write('/root/file', source(), { size: SIZE }).then(() => {})))
  })

  it('of a file come out whole, in constant memory', async () => {
    const received = createHash('sha256')
    const growth = await grows(async () => {
      for await (const chunk of await sandbox.files.readStream('/root/file')) received.update(chunk as Buffer)
    })
    expect(received.digest('hex')).toBe(hash.digest('hex'))
    expectFlat(growth)
  })
})
