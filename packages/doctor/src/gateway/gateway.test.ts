import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { homeAt } from '@coppice/protocol/home'
import { afterEach, describe, expect, it } from 'vitest'
import { findGateway } from '../gateway-state.ts'
import { detect, makeHome, plant } from '../testing/home.ts'
import { VERSION } from '../version.ts'
import { gatewayCheck } from './check.ts'

let server: Server | undefined
afterEach(() => {
  server?.closeAllConnections()
  server?.close()
})

/** A program that answers as a gateway does, or not at all. */
async function listen(version: string | undefined): Promise<string> {
  server = createServer((_request, answer) => {
    if (version === undefined) return
    answer.setHeader('content-type', 'application/json')
    answer.end(JSON.stringify({ ok: true, version }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function check(home: string, env: NodeJS.ProcessEnv = {}) {
  return detect(gatewayCheck, home, { gateway: await findGateway(homeAt(home), env) })
}

function announce(home: string, url: string, pid = process.pid): void {
  plant(home, 'gateway.json', JSON.stringify({ pid, url, version: '9.9.9', home, startedAt: 1 }))
}

describe('the gateway', () => {
  it('need not run', async () => {
    expect(await check(makeHome())).toEqual([])
  })

  it('that is gone left its file behind, which is nothing', async () => {
    const home = makeHome()
    announce(home, 'http://127.0.0.1:1', 4_194_304)
    expect(await check(home)).toEqual([])
  })

  it('of the same version is in order', async () => {
    const home = makeHome()
    announce(home, await listen(VERSION))
    expect(await check(home)).toEqual([])
  })

  it('of another version is told, and how to change that', async () => {
    const home = makeHome()
    announce(home, await listen('0.0.9'))
    expect(await check(home)).toMatchObject([
      {
        severity: 'warning',
        message: expect.stringMatching(/0\.0\.9.*this is version/),
        hint: 'coppice gateway stop && coppice gateway start',
      },
    ])
  })

  it('that does not answer is told', async () => {
    const home = makeHome()
    announce(home, await listen(undefined))
    expect(await check(home)).toMatchObject([{ severity: 'error', hint: `kill ${process.pid}` }])
  })

  it('that COPPICE_URL names is looked at instead', async () => {
    const url = await listen('0.0.9')
    expect(await check(makeHome(), { COPPICE_URL: `${url}/` })).toMatchObject([
      { message: expect.stringContaining('COPPICE_URL') },
    ])
  })
})
