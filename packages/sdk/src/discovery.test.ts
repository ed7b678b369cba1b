import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Coppice } from './coppice.ts'
import { defaultHome, findGateway } from './discovery.ts'
import { FakeGateway } from './testing/fake-gateway.ts'

let home: string

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'coppice-sdk-'))
  vi.stubEnv('COPPICE_URL', undefined)
  vi.stubEnv('COPPICE_TOKEN', undefined)
  vi.stubEnv('COPPICE_HOME', undefined)
})
afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(home, { recursive: true })
})

function announce(gateway: { url: string; token: string }, pid = process.pid): void {
  const record = { pid, url: gateway.url, version: '0', home, startedAt: 0 }
  writeFileSync(join(home, 'gateway.json'), JSON.stringify(record))
  writeFileSync(join(home, 'token'), `${gateway.token}\n`)
}

describe('the gateway', () => {
  it('is the one of COPPICE_URL and COPPICE_TOKEN when they are set', () => {
    vi.stubEnv('COPPICE_URL', 'https://far.example:7000/')
    vi.stubEnv('COPPICE_TOKEN', 'secret')
    expect(findGateway({ home })).toEqual({ url: 'https://far.example:7000', token: 'secret', pid: undefined })
  })

  it('is refused without a token for its URL', () => {
    vi.stubEnv('COPPICE_URL', 'https://far.example')
    expect(() => findGateway()).toThrow(expect.objectContaining({ reason: 'token_missing' }))
  })

  it('is the one that the home tells of', () => {
    announce({ url: 'http://127.0.0.1:1', token: 't' })
    vi.stubEnv('COPPICE_HOME', home)
    expect(defaultHome()).toBe(home)
    expect(findGateway()).toEqual({ url: 'http://127.0.0.1:1', token: 't', pid: process.pid })
  })

  it.each<[string, () => void]>([
    ['says nothing', () => {}],
    ['tells of a process that is gone', () => announce({ url: 'http://127.0.0.1:1', token: 't' }, 2 ** 22 + 1)],
    ['holds no JSON', () => writeFileSync(join(home, 'gateway.json'), '{"pid":')],
  ])('is not running when the home %s', (_, prepare) => {
    prepare()
    const expected = { code: 'unavailable', reason: 'gateway_not_running', hint: 'coppice gateway start' }
    expect(() => findGateway({ home })).toThrow(expect.objectContaining(expected))
  })

  it.each(['gateway.json', 'token'])('is not looked for in a %s that is a folder', (name) => {
    announce({ url: 'http://127.0.0.1:1', token: 't' })
    rmSync(join(home, name))
    mkdirSync(join(home, name))
    const expected = { reason: 'state_not_a_file', facts: { path: join(home, name), what: 'a folder' } }
    expect(() => findGateway({ home })).toThrow(expect.objectContaining(expected))
  })

  it('is not running when its port refuses, whatever its file says', async () => {
    announce({ url: 'http://127.0.0.1:1', token: 't' })
    const status = new Coppice({ home }).status()
    await expect(status).rejects.toMatchObject({ reason: 'gateway_not_running' })
  })

  it('is found again where it listens after it was started again', async () => {
    const first = await new FakeGateway().start()
    announce(first)
    const client = new Coppice({ home })
    const sandbox = client.sandboxes.get('x')
    await sandbox.exec(['true'])
    await first.kill()
    const call = sandbox.exec(['true'])
    const second = await new FakeGateway().start()
    announce(second)
    expect(await call).toMatchObject({ exitCode: 0 })
    expect(second.execs.size).toBe(1)
    client.close()
    await second.kill()
  })
})
