import { CoppiceError, type EgressRecord } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Coppice } from './coppice.ts'
import { type NetworkOption, networkPolicy } from './network.ts'
import { FakePorts } from './testing/fake-ports.ts'

let gateway: FakePorts
let client: Coppice
beforeEach(async () => {
  gateway = await new FakePorts().start()
  client = new Coppice({ url: gateway.url, token: gateway.token })
})
afterEach(() => {
  client.close()
  gateway.kill()
})

describe('the network option', () => {
  it.each<[NetworkOption, ReturnType<typeof networkPolicy>]>([
    ['none', { mode: 'none', allow: [] }],
    ['public', { mode: 'public', allow: [] }],
    ['audit', { mode: 'audit', allow: [] }],
    [['a.example'], { mode: 'allow', allow: ['a.example'] }],
    [[], { mode: 'allow', allow: [] }],
    [{ allow: ['a.example'] }, { mode: 'allow', allow: ['a.example'] }],
    [
      { mode: 'public', allow: ['10.0.0.0/8'] },
      { mode: 'public', allow: ['10.0.0.0/8'] },
    ],
    [{}, { mode: 'public', allow: [] }],
  ])('%j is %j', (option, policy) => {
    expect(networkPolicy(option)).toEqual(policy)
  })

  it('goes with a create, and only when it is given', async () => {
    gateway.answers.push({ id: 'sb-1' }, { id: 'sb-2' })
    await client.sandboxes.create({ key: 'k', network: ['a.example'] })
    await client.sandboxes.create({ key: 'k' })
    expect(gateway.calls).toEqual([
      'POST /v1/sandboxes {"network":{"mode":"allow","allow":["a.example"]},"key":"k"}',
      'POST /v1/sandboxes {"key":"k"}',
    ])
  })
})

describe("a sandbox's network", () => {
  it('is looked at and changed by calls of the API', async () => {
    const box = client.sandboxes.get('my box')
    await box.network.get()
    await box.network.set('none')
    await box.network.allow('a.example', 'b.example:22')
    await box.network.deny('a.example')
    await box.network.suggest()
    await box.preview(8080)
    await box.preview(8080, { public: false })
    gateway.answers.push({ ports: [{ port: 80, address: '0.0.0.0', process: 'nginx' }] })
    expect(await box.ports()).toEqual([{ port: 80, address: '0.0.0.0', process: 'nginx' }])
    expect(gateway.calls).toEqual([
      'GET /v1/sandboxes/my%20box/network',
      'POST /v1/sandboxes/my%20box/network {"mode":"none","allow":[]}',
      'POST /v1/sandboxes/my%20box/network {"add":["a.example","b.example:22"]}',
      'POST /v1/sandboxes/my%20box/network {"remove":["a.example"]}',
      'GET /v1/sandboxes/my%20box/network/suggestion',
      'PUT /v1/sandboxes/my%20box/ports/8080/preview {}',
      'PUT /v1/sandboxes/my%20box/ports/8080/preview {"public":false}',
      'GET /v1/sandboxes/my%20box/ports',
    ])
  })

  it('has a log, read line by line', async () => {
    gateway.answers.push('{"name":"a.example"}\n{"name":"b.example"}\n')
    const names: (string | null)[] = []
    for await (const { name } of client.sandboxes.get('box').network.log({ denied: true, limit: 5 })) names.push(name)
    expect(names).toEqual(['a.example', 'b.example'])
    expect(gateway.calls).toEqual(['GET /v1/sandboxes/box/egress?denied=1&limit=5'])
  })

  it('tells what a log answers when it cannot be read', async () => {
    gateway.answers.push(new CoppiceError('not_found', 'sandbox_not_found', 'No.'), '{"name":')
    const read = async () => {
      const records: EgressRecord[] = []
      for await (const record of client.sandboxes.get('box').network.log()) records.push(record)
    }
    await expect(read()).rejects.toMatchObject({ reason: 'sandbox_not_found' })
    await expect(read()).rejects.toMatchObject({ code: 'unavailable' })
  })
})
