import { describe, expect, it } from 'vitest'
import { allow, CANCEL, echo, firstData, local, names, place, world } from './testing/kit.ts'
import { collect, SANDBOX } from './testing/place.ts'

describe('a change of the policy', () => {
  it('cuts what it refuses, leaves the rest, and counts for the next', async () => {
    const here = world()
    const one = await here.tcp(echo)
    const two = await here.tcp(echo)
    const box = await place({ policy: allow(local(one), local(two)) })
    const kept = await box.supervisor.tunnel({ host: '127.0.0.1', port: one })
    const cut = await box.supervisor.tunnel({ host: '127.0.0.1', port: two })
    for (const stream of [kept, cut]) {
      stream.write('x')
      await firstData(stream)
    }
    box.egress.change(SANDBOX, allow(local(one)))
    expect((await collect(cut)).ended).toBe(false)
    kept.write('still')
    expect(await firstData(kept)).toBe('still')
    expect(await box.supervisor.refusal({ host: '127.0.0.1', port: two })).toMatchObject({ kind: 'denied' })
    const records = await box.records()
    expect(records.find(({ port }) => port === two)).toMatchObject({ verdict: 'allowed', end: 'policy' })
  })

  it('while a name is being resolved counts for what it resolves to', async () => {
    const here = world()
    const port = await here.tcp(echo)
    const dns = await names({
      'moving.example': () => {
        box.egress.change(SANDBOX, { mode: 'none', allow: [] })
        return ['127.0.0.1']
      },
    })
    const box = await place({
      policy: allow(`moving.example:${port}`, local(port)),
      config: { resolvers: [dns.address] },
    })
    expect(await box.supervisor.refusal({ host: 'moving.example', port })).toMatchObject({
      kind: 'denied',
      rule: 'none',
    })
    expect(here.open).toBe(0)
  })

  it('the end of the sandbox cuts everything', async () => {
    const here = world()
    const port = await here.tcp(echo)
    const box = await place({ policy: allow(local(port)) })
    const stream = await box.supervisor.tunnel({ host: '127.0.0.1', port })
    box.egress.release(SANDBOX)
    expect((await collect(stream)).ended).toBe(false)
    await expect.poll(() => here.open).toBe(0)
    const [record] = await box.records()
    expect(record).toMatchObject({ end: 'ended' })
  })
})

describe('limits', () => {
  it('hold the connections of a sandbox to a number', async () => {
    const port = await world().tcp(() => {})
    const box = await place({ policy: allow(local(port)), config: { maxConnections: 3 } })
    const open = await Promise.all([1, 2, 3].map(() => box.supervisor.tunnel({ host: '127.0.0.1', port })))
    expect(await box.supervisor.refusal({ host: '127.0.0.1', port })).toMatchObject({ kind: 'limit', rule: 'limit' })
    expect(await box.supervisor.refusal({ via: 'http' })).toMatchObject({ kind: 'limit' })
    open[0]?.close(CANCEL)
    await expect.poll(() => box.counts.open).toBe(2)
    await box.supervisor.tunnel({ host: '127.0.0.1', port })
    expect(box.counts).toMatchObject({ open: 3, denied: 2 })
  })

  it('cut what is idle, and what is half closed and idle sooner', async () => {
    const here = world()
    const port = await here.tcp((socket) => socket.resume())
    const box = await place({
      policy: allow(local(port)),
      config: { idleMs: 1_500, halfOpenMs: 200 },
    })
    const idle = await box.supervisor.tunnel({ host: '127.0.0.1', port })
    const half = await box.supervisor.tunnel({ host: '127.0.0.1', port })
    half.end()
    expect((await collect(half)).ended).toBe(false)
    expect(box.counts.open).toBe(1)
    expect((await collect(idle)).ended).toBe(false)
    const ends = (await box.records()).map(({ end }) => end)
    expect(ends).toEqual(['idle', 'half_open'])
    expect(box.counts.open).toBe(0)
  })
})
