import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { StoreFixture } from './contract.ts'
import { type Step, stateAfter } from './contract-cycler.ts'
import { startCycler, startWriter, type Writer } from './contract-processes.ts'
import type { Tally } from './contract-writer.ts'
import type { Registry } from './store.ts'

/** Longest time that a writer is left alone before it is killed, milliseconds. A change takes 1 to 5. */
const MOST_PATIENCE_MS = 30

/** Writers that are alive at the same time. */
const CROWD = 4

/**
 * The part of the examination in which writing processes are killed at random: `kills` times, half of them among several
 * writers of one entry, half of them the only writer of one.
 */
export function describeKills(name: string, factory: () => Promise<StoreFixture>, kills: number): void {
  const each = Math.ceil(kills / 2)
  describe(`registry: ${name}`, { timeout: 10_000 + 1000 * kills }, () => {
    let fixture: StoreFixture
    let registry: Registry

    beforeEach(async () => {
      fixture = await factory()
      registry = await fixture.open()
    })
    afterEach(() => fixture.close())

    it(`loses and doubles nothing when ${each} writers of one entry are killed at random`, async () => {
      const tallies = registry.kind<Tally>('tallies')
      await tallies.put('t', { total: 0, writers: {} })
      const acknowledged = new Map<string, number>()
      let lastVersion = 0
      const look = async () => {
        const seen = await tallies.get('t')
        expect(seen?.version).toBeGreaterThanOrEqual(lastVersion)
        lastVersion = seen?.version ?? 0
      }
      let started = 0
      const startOne = () => {
        const writer = startWriter(fixture, `w${started++}`, 0)
        writer.go()
        return writer
      }
      const crowd: Writer[] = Array.from({ length: Math.min(CROWD, each) }, startOne)
      for (let killed = 0; killed < each; killed++) {
        const victim = crowd.shift() as Writer
        await victim.first
        await lookAtRandom(look)
        victim.child.kill('SIGKILL')
        acknowledged.set(victim.name, (await victim.ended).acknowledged)
        if (started < each) crowd.push(startOne())
      }
      const { value, version } = await tallies.update('t', (tally) => ({ ...tally }))
      expect(value.total).toBe(Object.values(value.writers).reduce((sum, count) => sum + count, 0))
      expect(version).toBe(value.total + 2)
      expect(acknowledged.size).toBe(each)
      for (const [writer, count] of acknowledged) {
        const landed = value.writers[writer] ?? 0
        expect(landed, writer).toBeGreaterThanOrEqual(count)
        expect(landed, writer).toBeLessThanOrEqual(count + 1)
      }
      expect((await tallies.list()).skipped).toEqual([])
    })

    it(`is the old or the new entry, whole, when its only writer is killed ${each} times at random`, async () => {
      const steps = registry.kind<Step>('steps')
      await steps.put('z-bystander', { step: -1, padding: '' })
      const ids = ['a', 'b']
      const lives = ids.map(async (id, at) => {
        let next = 0
        for (let killed = at; killed < each; killed += ids.length) {
          const writer = startCycler(fixture, 'steps', id, next)
          await writer.first
          await lookAtRandom(async () => {
            const seen = await steps.get(id)
            if (seen) expect(seen.value).toEqual(stateAfter(seen.value.step))
            const { entries, skipped } = await steps.list()
            expect(skipped).toEqual([])
            expect(entries.at(-1)?.id).toBe('z-bystander')
          })
          writer.child.kill('SIGKILL')
          const { acknowledged } = await writer.ended
          const left = (await steps.get(id))?.value
          const isNew = JSON.stringify(left) === JSON.stringify(stateAfter(acknowledged + 1))
          if (!isNew) expect(left).toEqual(stateAfter(acknowledged))
          next = acknowledged + 1
        }
      })
      await Promise.all(lives)
    })
  })
}

/** Looks again and again until a random moment; at least once. */
async function lookAtRandom(look: () => Promise<void>): Promise<void> {
  const until = performance.now() + Math.random() * MOST_PATIENCE_MS
  do await look()
  while (performance.now() < until)
}
