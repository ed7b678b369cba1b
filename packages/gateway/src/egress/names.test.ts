import { describe, expect, it } from 'vitest'
import { allow, CANCEL, echo, local, names, place, world } from './testing/kit.ts'
import { collect } from './testing/place.ts'

describe('names', () => {
  it('that are denied are never asked for outside', async () => {
    const dns = await names({ 'ok.example': ['127.0.0.1'] })
    const port = await world().tcp(echo)
    const box = await place({
      policy: allow('ok.example', local(port)),
      config: { resolvers: [dns.address] },
    })
    expect(await box.supervisor.name('ok.example')).toMatchObject({ outcome: 'exists' })
    for (const name of [
      'c2VjcmV0.evil.example',
      'ok.example.evil.example',
      'xok.example',
      'localhost',
      'a.localhost',
    ]) {
      expect(await box.supervisor.name(name), name).toMatchObject({ outcome: 'denied' })
      expect(await box.supervisor.refusal({ host: name, port: 443 }), name).toMatchObject({ kind: 'denied' })
    }
    expect(new Set(dns.asked)).toEqual(new Set(['ok.example']))
    const records = await box.records()
    expect(records.filter(({ verdict, kind }) => verdict === 'denied' && kind === 'name')).toHaveLength(5)
    expect(records.filter(({ verdict, kind }) => verdict === 'denied' && kind === 'connection')).toHaveLength(5)
  })

  it('are answered as they are: missing, broken, leading only where nothing may go', async () => {
    const dns = await names({
      'bad.example': 'broken',
      'metadata.example': ['169.254.169.254'],
      'mixed.example': ['169.254.169.254', '203.0.113.1'],
      'empty.example': [],
    })
    const box = await place({ config: { resolvers: [dns.address] } })
    expect(await box.supervisor.name('none.example')).toMatchObject({ outcome: 'no_such_name' })
    expect(await box.supervisor.name('empty.example')).toMatchObject({ outcome: 'no_such_name' })
    expect(await box.supervisor.name('bad.example')).toMatchObject({ outcome: 'failed' })
    expect(await box.supervisor.name('metadata.example')).toMatchObject({ outcome: 'denied' })
    expect(await box.supervisor.name('mixed.example')).toMatchObject({ outcome: 'exists' })
    expect(await box.supervisor.name('127.0.0.1')).toMatchObject({ outcome: 'no_such_name' })
    expect(await box.supervisor.name('not a name')).toMatchObject({ outcome: 'no_such_name' })
  })

  it('that lead to a closed place are refused, in whatever form the answer is', async () => {
    const dns = await names({
      'a.example': ['169.254.169.254'],
      'b.example': ['::ffff:169.254.169.254'],
      'c.example': ['64:ff9b::a9fe:a9fe'],
      'd.example': ['127.0.0.1'],
      'e.example': ['10.0.0.1', '::1'],
    })
    const box = await place({ config: { resolvers: [dns.address] } })
    const rule = async (host: string) => (await box.supervisor.refusal({ host, port: 80 })).rule
    expect(await rule('a.example')).toBe('metadata')
    expect(await rule('b.example')).toBe('metadata')
    expect(await rule('c.example')).toBe('metadata')
    expect(await rule('d.example')).toBe('loopback')
    expect(await rule('e.example')).toBe('private')
    const { hint, message } = await box.supervisor.refusal({ host: 'e.example', port: 80 })
    expect(message).toContain('10.0.0.1')
    expect(hint).toBe('coppice network set box --allow 10.0.0.1:80')
  })

  it('that resolve first to an open and then to a closed place gain nothing', async () => {
    const here = world()
    const port = await here.tcp((socket) => socket.end('the open place'))
    const answers = [['127.0.0.1'], ['127.0.0.2']]
    let turn = 0
    const dns = await names({ 'rebind.example': () => answers[Math.min(1, Math.floor(turn++ / 2))] ?? [] }, 0)
    const box = await place({
      policy: { mode: 'public', allow: [local(port)] },
      config: { resolvers: [dns.address] },
    })
    const first = await box.supervisor.tunnel({ host: 'rebind.example', port })
    expect((await collect(first)).bytes.toString()).toBe('the open place')
    first.close(CANCEL)
    // The answer is kept for a second at least; after that the other one comes, and is judged.
    await expect
      .poll(
        async () => {
          const outcome = await box.supervisor.open({ host: 'rebind.example', port })
          return 'stream' in outcome ? 'reached' : outcome.t === 'refused' ? outcome.error.rule : ''
        },
        { interval: 200 },
      )
      .toBe('loopback')
    const dialled = (await box.records()).filter(({ verdict }) => verdict === 'allowed').map(({ address }) => address)
    expect(new Set(dialled)).toEqual(new Set(['127.0.0.1']))
  })

  it('with several addresses are tried one after the other, among the open ones', async () => {
    const port = await world().tcp((socket) => socket.end('here'))
    const dns = await names({ 'many.example': ['169.254.169.254', '127.0.0.3', '127.0.0.1', '10.0.0.1'] })
    const box = await place({
      policy: allow(`many.example:${port}`, local(port), `127.0.0.3:${port}`),
      config: { resolvers: [dns.address] },
    })
    const stream = await box.supervisor.tunnel({ host: 'many.example', port })
    stream.end()
    expect((await collect(stream)).bytes.toString()).toBe('here')
    await expect.poll(async () => (await box.records())[0]?.end).toBe('closed')
    expect((await box.records())[0]).toMatchObject({ name: 'many.example', address: '127.0.0.1' })
  })
})
