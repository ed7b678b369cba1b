import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Progress } from '@coppice/protocol/wire'
import { describe, expect, test } from 'vitest'
import { Ends, eventually } from '../contract/subject.ts'
import type { Driver } from '../driver.ts'
import type { OciSubject } from '../testing/oci-subject.ts'
import { openOci } from '../testing/open-oci.ts'

const none = Progress.none()
const limits = { memoryMB: 128, cpus: 1, pids: 64 }

/** A repeatable stand-in for chance: the same moments in every run. */
function* moments(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    yield state / 2_147_483_648
  }
}

describe('many sandboxes', () => {
  let subject: OciSubject
  let driver: Driver
  const needsDriver = openOci((opened, its) => {
    subject = opened
    driver = its
  })

  const openFiles = (): number => readdirSync('/proc/self/fd').length
  const mounts = (): number => readFileSync('/proc/self/mountinfo', 'utf8').split('\n').length

  test('200 that are ended in different ways at any moment of their lives leave the host as it was', async (context) => {
    needsDriver(context)
    const before = { files: openFiles(), mounts: mounts() }
    const chance = moments(7)
    const live = async (): Promise<void> => {
      const spec = subject.spec({ limits })
      const timeoutMs = Math.round(chance.next().value * 250)
      const made = await driver.create(spec, new Progress({ timeoutMs })).catch((cause: unknown) => cause)
      if (made instanceof Error) return
      await sleep(chance.next().value * 150)
      const way = Math.floor(chance.next().value * 4)
      const { pid } = made as { pid: number }
      if (way === 0) process.kill(pid, 'SIGKILL')
      if (way === 1) process.kill(pid, 'SIGTERM')
      if (way === 2) await driver.stop(spec.id, chance.next().value * 200, none)
      await driver.remove(spec.id, none)
    }
    const ends = new Ends(driver)
    for (let batch = 0; batch < 20; batch++) await Promise.all(Array.from({ length: 10 }, live))
    ends.stop()
    expect(await subject.residue()).toEqual([])
    expect(await driver.list(none)).toEqual([])
    await eventually('open files and mounts to be no more than before', () =>
      openFiles() <= before.files && mounts() <= before.mounts ? true : undefined,
    )
  }, 300_000)

  test('250 run at once, and all go', async (context) => {
    needsDriver(context)
    const specs = Array.from({ length: 250 }, () => subject.spec({ limits }))
    const made = await Promise.all(specs.map((spec) => driver.create(spec, none)))
    expect(new Set(made.map(({ pid }) => pid)).size).toBe(250)
    const found = await driver.list(none)
    expect(found.filter(({ state }) => state === 'running')).toHaveLength(250)
    await Promise.all(specs.map(({ id }) => driver.remove(id, none)))
    expect(await subject.residue()).toEqual([])
  }, 300_000)
})
