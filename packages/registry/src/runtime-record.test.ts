import { describe, expect, it } from 'vitest'
import { fileFixture } from './file-fixture.ts'
import { type RuntimeFacts, upsertRuntime } from './runtime-record.ts'

interface Runtime extends RuntimeFacts {
  session?: string
}

const prior: Runtime = { createdAt: 100, image: 'debian:12', lastUsedAt: 500, configHash: 'old', session: 's1' }

describe('a runtime record', () => {
  it('is what is said when there was none', () => {
    expect(upsertRuntime<Runtime>(undefined, prior)).toEqual(prior)
  })

  it('keeps when and from what it was made, whatever an update says', () => {
    const next = upsertRuntime(prior, { createdAt: 999, image: 'alpine', lastUsedAt: 600 })
    expect(next).toEqual({ ...prior, lastUsedAt: 600 })
  })

  it('takes both from a recreate that says them', () => {
    const next = upsertRuntime(prior, { createdAt: 999, image: 'alpine', lastUsedAt: 999 }, { recreate: true })
    expect(next).toEqual({ ...prior, createdAt: 999, image: 'alpine', lastUsedAt: 999 })
  })

  it('keeps what a recreate does not say', () => {
    expect(upsertRuntime(prior, { image: 'alpine' }, { recreate: true })).toEqual({ ...prior, image: 'alpine' })
    expect(upsertRuntime(prior, { createdAt: 999, image: undefined }, { recreate: true })).toEqual({
      ...prior,
      createdAt: 999,
    })
  })

  it('takes the newest hash of its configuration, and keeps the prior when an update has none', () => {
    expect(upsertRuntime(prior, { configHash: 'new' }).configHash).toBe('new')
    expect(upsertRuntime(prior, { lastUsedAt: 700 }).configHash).toBe('old')
    expect(upsertRuntime(prior, { configHash: undefined }).configHash).toBe('old')
    const { configHash: _, ...bare } = prior
    expect(upsertRuntime<Runtime>(bare, { configHash: 'first' }).configHash).toBe('first')
    expect(upsertRuntime<Runtime>(bare, { lastUsedAt: 700 })).not.toHaveProperty('configHash')
  })

  it.each([
    ['earlier', 400, 500],
    ['later', 600, 600],
    ['equal', 500, 500],
    ['no number', Number.NaN, 500],
    ['absent', undefined, 500],
  ])('is used last at the latest of all times: %s', (_, lastUsedAt, expected) => {
    expect(upsertRuntime(prior, { lastUsedAt }).lastUsedAt).toBe(expected)
    expect(upsertRuntime(prior, { lastUsedAt }, { recreate: true }).lastUsedAt).toBe(expected)
  })

  it('recovers from a time of use that was damaged', () => {
    expect(upsertRuntime({ ...prior, lastUsedAt: Number.NaN }, { lastUsedAt: 7 }).lastUsedAt).toBe(7)
  })

  it('follows the update in everything else, and changes neither of its arguments', () => {
    const frozen = Object.freeze({ ...prior })
    expect(upsertRuntime<Runtime>(frozen, Object.freeze({ session: 's2' })).session).toBe('s2')
    expect(upsertRuntime<Runtime>(frozen, { session: undefined }).session).toBe('s1')
  })

  it('keeps the latest time of use when updates arrive in any order', async () => {
    const fixture = await fileFixture()
    try {
      const runtimes = (await fixture.open()).kind<Runtime>('containers')
      await runtimes.put('c', prior)
      const times = [900, 501, 1200, 700, 1100]
      await Promise.all(
        times.map((lastUsedAt) => runtimes.update('c', (record) => upsertRuntime(record, { lastUsedAt }))),
      )
      expect(await runtimes.get('c')).toEqual({ id: 'c', version: 6, value: { ...prior, lastUsedAt: 1200 } })
    } finally {
      await fixture.close()
    }
  })
})
