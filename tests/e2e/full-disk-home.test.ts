import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  createReadStream,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeBusyboxArchive } from '@coppice/images/testing'
import { Coppice, Sandbox } from '@coppice/sdk'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CoppiceCommand } from '../support/command.ts'
import { makeHome } from '../support/gateway-process.ts'
import { leftovers } from '../support/world.ts'

/** How a disk of 128 MiB is made in a folder. */
const DISKS: Record<string, (dir: string, disk: string) => void> = {
  tmpfs: (_, disk) => execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128m', 'tmpfs', disk]),
  ext4: (dir, disk) => {
    const file = join(dir, 'ext4')
    execFileSync('truncate', ['-s', '128M', file])
    execFileSync('mkfs.ext4', ['-q', '-m', '0', file])
    execFileSync('mount', ['-o', 'loop', file, disk])
  },
}

describe.each(Object.keys(DISKS))('a home on a disk of 128 MiB (%s) that is full to the last byte', (kind) => {
  let dir: string
  let disk: string
  let home: string
  let client: Coppice
  let coppice: CoppiceCommand

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'full-'))
    // Sandboxes walk to their files through it.
    chmodSync(dir, 0o711)
    disk = join(dir, 'disk')
    execFileSync('mkdir', [disk])
    DISKS[kind]?.(dir, disk)
    home = makeHome({}, disk)
    coppice = new CoppiceCommand(home)
    // Its log is on that disk too.
    expect(await coppice.run(['gateway', 'start'])).toMatchObject({ code: 0 })
    client = new Coppice({ home })
    await client.images.import(createReadStream(await makeBusyboxArchive(join(dir, 'busybox.tar'))), {
      name: 'busybox',
    })
  }, 60_000)
  afterEach(async () => {
    rmSync(join(disk, 'filler'), { force: true })
    await coppice.run(['gateway', 'start'])
    for (const { id } of await client.sandboxes.list()) await client.sandboxes.remove(id)
    client.close()
    await coppice.run(['gateway', 'stop'])
    const left = leftovers(home)
    execFileSync('umount', ['--lazy', disk])
    rmSync(dir, { recursive: true, force: true })
    expect(left.filter((line) => !line.includes(` ${disk} `))).toEqual([])
  })

  const free = () => {
    const { bavail, bsize } = statfsSync(disk)
    return bavail * bsize
  }
  const reserves = () =>
    ['registry', 'store'].map((folder) => statSync(join(home, folder, 'reserve'), { throwIfNoEntry: false })?.size)
  const fill = async () => {
    await expect.poll(reserves).toEqual([1024 * 1024, 1024 * 1024])
    const file = openSync(join(disk, 'filler'), 'a')
    try {
      for (const size of [65536, 4096, 1]) {
        try {
          for (;;) if (writeSync(file, Buffer.alloc(size, 1)) < size) break
        } catch {
          // Not one more of this size.
        }
      }
    } finally {
      closeSync(file)
    }
    expect(free()).toBe(0)
  }
  const create = (name: string) => Sandbox.create({ from: 'busybox', memoryMB: 128, name, client })
  const gatewayPid = async () => (await client.status()).pid

  test('lets sandboxes and checkpoints be removed, and goes on when there is room', { timeout: 120_000 }, async () => {
    const pid = await gatewayPid()
    const [kept, stopped, running] = [await create('kept'), await create('stopped'), await create('running')]
    await running.exec('head -c 2000000 /dev/urandom > /noise; head -c 100000 /dev/urandom | od')
    await stopped.exec('head -c 2000000 /dev/urandom > /noise')
    await stopped.stop()
    const [first, second] = [await running.checkpoint(), await kept.checkpoint()]
    await fill()
    await expect(create('late')).rejects.toMatchObject({ code: 'resource_exhausted', reason: 'disk_full' })
    await expect(kept.checkpoint()).rejects.toMatchObject({ code: 'resource_exhausted', reason: 'disk_full' })
    await expect(kept.resize({ memoryMB: 256 })).rejects.toMatchObject({ reason: 'disk_full' })
    expect(await kept.inspect()).toMatchObject({ limits: { memoryMB: 128 }, drift: [] })
    await expect(stopped.start()).rejects.toMatchObject({ reason: 'disk_full' })
    expect((await client.sandboxes.list()).map(({ name, state }) => [name, state])).toEqual([
      ['kept', 'running'],
      ['stopped', 'stopped'],
      ['running', 'running'],
    ])
    expect(await coppice.run(['rm', first.id])).toMatchObject({ code: 0, stdout: `${first.id}\n` })
    await fill()
    expect(await coppice.run(['rm', 'stopped'])).toMatchObject({ code: 0 })
    await fill()
    expect(await coppice.run(['rm', 'running'])).toMatchObject({ code: 0 })
    expect(await client.checkpoints.list()).toEqual([second])
    expect((await client.sandboxes.list()).map(({ name, state }) => [name, state])).toEqual([['kept', 'running']])
    expect((await kept.exec('echo here')).stdout).toBe('here\n')
    expect(readdirSync(join(home, 'drivers/oci'))).toEqual([kept.id])
    rmSync(join(disk, 'filler'))
    await (await create('again')).remove()
    await client.checkpoints.remove(second.id)
    await kept.remove()
    expect(await gatewayPid()).toBe(pid)
  })

  test('lets a gateway start, so that it can remove', async () => {
    const box = await create('box')
    await box.exec('head -c 4000000 /dev/urandom > /noise')
    expect(await coppice.run(['gateway', 'stop'])).toMatchObject({ code: 0 })
    await fill()
    for (let round = 0; round < 2; round++) {
      expect(await coppice.run(['gateway', 'start'])).toMatchObject({ code: 0 })
      expect((await box.exec('echo here')).stdout).toBe('here\n')
      expect(await coppice.run(['gateway', 'stop'])).toMatchObject({ code: 0 })
    }
    expect(await coppice.run(['rm', 'box'])).toMatchObject({ code: 0 })
    expect(await client.sandboxes.list()).toEqual([])
    await expect.poll(reserves).toEqual([1024 * 1024, 1024 * 1024])
  })

  test('says so to a create while there is too little, and nothing is left of it', async () => {
    await (await create('first')).remove()
    const outcomes: string[] = []
    for (const room of [4096, 2 ** 19, 2 ** 21]) {
      await fill()
      truncateSync(join(disk, 'filler'), statSync(join(disk, 'filler')).size - room)
      const outcome = await create('next').then(
        (box) => box.remove().then(() => 'created'),
        ({ code, reason }) => `${code}/${reason}`,
      )
      outcomes.push(outcome)
      expect(await client.sandboxes.list()).toEqual([])
      expect(readdirSync(join(home, 'drivers/oci'))).toEqual([])
      rmSync(join(disk, 'filler'))
    }
    const full = 'resource_exhausted/disk_full'
    expect(outcomes).toEqual([full, full, 'created'])
  })
})
