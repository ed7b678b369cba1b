import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import { connect } from 'node:net'
import type { Sandbox } from '@coppice/sdk'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { residentBytes } from '../support/host.ts'
import { Impostor } from '../support/impostor.ts'
import { openWorld, type World } from '../support/world.ts'

const FRAMES = { ':status': 200, 'content-type': 'application/vnd.coppice.frames' }

let world: World
let good: Sandbox
let bad: Sandbox
let impostor: Impostor | undefined

beforeAll(async () => {
  world = await openWorld({ session: { leaseMs: 12_000, boundMs: 2_000 } })
  good = await world.create()
}, 300_000)
afterAll(() => world?.dispose())
beforeEach(async () => {
  bad = await world.create()
})
afterEach(async () => {
  impostor?.leave()
  impostor = undefined
  await bad.remove()
  // Whatever the bad one did, the gateway is the same process and serves the others.
  expect(await good.exec(['echo', 'unharmed'])).toMatchObject({ stdout: 'unharmed\n' })
  expect((await world.client.status()).pid).toBe(world.gateway.pid)
})

const takeOver = async (answer: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void) => {
  // The real supervisor is kept from coming back, before it can notice anything: root inside can do that.
  process.kill(world.supervisorPid(bad), 'SIGSTOP')
  impostor = await Impostor.replace(world.initPid(bad), answer)
  return impostor
}

describe('a supervisor that was replaced by something hostile', () => {
  it('cannot make the gateway take a frame of 4 GiB', async () => {
    await takeOver((stream) => {
      stream.respond(FRAMES)
      const header = Buffer.alloc(16)
      header[0] = 1
      header.writeUInt32BE(0xffffffff, 4)
      stream.write(header)
    })
    await expect(bad.exec(['true'], { boundMs: 3_000 })).rejects.toMatchObject({ name: 'CoppiceError' })
  })

  it('cannot make the gateway hold an error without end', async () => {
    const before = residentBytes(world.gateway.pid)
    await takeOver((stream) => {
      stream.respond({ ':status': 500 })
      const flood = () => {
        while (!stream.destroyed && stream.write(Buffer.alloc(256 * 1024, 'x')));
        if (!stream.destroyed) stream.once('drain', flood)
      }
      flood()
    })
    await expect(bad.exec(['true'], { boundMs: 3_000 })).rejects.toMatchObject({ reason: 'answer_too_large' })
    expect(residentBytes(world.gateway.pid) - before).toBeLessThan(64 * 1024 * 1024)
  })

  it('cannot keep a caller waiting for longer than the bound', async () => {
    await takeOver(() => {})
    await expect(bad.files.stat('/')).rejects.toMatchObject({ code: 'unavailable' })
    await expect(bad.exec(['true'], { boundMs: 3_000 })).rejects.toMatchObject({ code: 'unavailable' })
  })

  it('cannot end the gateway with bytes that are no HTTP/2, nor with answers that are no HTTP', async () => {
    const one = await takeOver((stream) =>
      stream.respond({ ':status': 200, 'content-type': 'application/json' }, { endStream: true }),
    )
    await expect(bad.execs()).rejects.toMatchObject({ name: 'CoppiceError' })
    one.garble()
    await world.until(async () => !(await bad.inspect()).connected, 'the garbled session to be dropped')
  })

  it('lies about itself alone', async () => {
    await takeOver((stream) => {
      stream.respond(FRAMES)
      const result = JSON.stringify({
        exitCode: 0,
        signal: null,
        timedOut: false,
        oomKilled: false,
        startedAt: 0,
        endedAt: 0,
        stdoutBytes: 0,
        stderrBytes: 0,
      })
      const header = Buffer.alloc(16)
      header[0] = 3
      header.writeUInt32BE(result.length, 4)
      stream.end(Buffer.concat([header, Buffer.from(result)]))
    })
    expect((await bad.exec(['false'])).exitCode).toBe(0)
    expect((await good.exec(['false'])).exitCode).toBe(1)
  })
})

describe('a sandbox that floods its own socket', () => {
  it('is still reached, and nobody else notices', async () => {
    const path = `/proc/${world.initPid(bad)}/root/.coppice-run/gw.sock`
    const flood = Array.from({ length: 200 }, () => connect(path).on('error', () => {}))
    process.kill(world.supervisorPid(bad), 'SIGKILL')
    expect(await bad.exec(['echo', 'here'], { boundMs: 20_000 })).toMatchObject({ stdout: 'here\n' })
    for (const socket of flood) socket.destroy()
  })
})
