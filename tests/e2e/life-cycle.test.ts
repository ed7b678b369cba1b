import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Sandbox } from '@coppice/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { GatewayProcess, ROOT } from '../support/gateway-process.ts'
import { leftovers, openWorld, type World } from '../support/world.ts'

let world: World
beforeAll(async () => {
  world = await openWorld()
}, 300_000)
afterAll(() => world?.dispose())

const withSandbox = async (work: (sandbox: Sandbox) => Promise<void>, options = {}) => {
  const sandbox = await world.create(options)
  try {
    await work(sandbox)
  } finally {
    await sandbox.remove()
  }
}

describe('a sandbox', () => {
  it('keeps its files over stop and start, says why it was stopped, and has new processes', () =>
    withSandbox(async (sandbox) => {
      await sandbox.files.write('/root/kept', 'as it was')
      const server = await sandbox.spawn('sleep 1000')
      await server.started
      const stopped = await sandbox.stop()
      expect(stopped).toMatchObject({ state: 'stopped', end: { reason: 'stopped' } })
      expect(stopped.end?.use).not.toBeNull()
      // A stop is orderly: the exec's real end is still told.
      expect(await server.result).toMatchObject({ exitCode: null, signal: 'SIGTERM' })
      await expect(sandbox.exec(['true'])).rejects.toMatchObject({
        reason: 'not_running',
        hint: `coppice start ${sandbox.id}`,
      })
      await sandbox.start()
      expect((await sandbox.files.read('/root/kept')).toString()).toBe('as it was')
      expect((await sandbox.exec('ps | grep -c "[s]leep 1000"')).stdout).toBe('0\n')
    }))

  it('is remembered after its removal, with the end record', async () => {
    const sandbox = await world.create({ name: 'remembered' })
    await sandbox.exec('echo its last words')
    await sandbox.remove()
    const info = await sandbox.inspect()
    expect(info).toMatchObject({ state: 'removed', end: { reason: 'removed' } })
    expect(info.end?.lastOutput).toContain('its last words')
    await expect(sandbox.exec(['true'])).rejects.toMatchObject({ code: 'not_found', reason: 'sandbox_removed' })
    // Its name is free again.
    await withSandbox(async (again) => expect(again.id).not.toBe(sandbox.id), { name: 'remembered' })
  })

  it.each(['another call', 'the next gateway'])(
    'that could not be removed at first is ended by %s with its own end',
    async (by) => {
      const sandbox = await world.create()
      await sandbox.exec('echo its first run')
      await sandbox.stop()
      await sandbox.start()
      await sandbox.exec('echo its second run')
      const kept = join(world.gateway.home, 'drivers', 'oci', sandbox.id, 'kept')
      writeFileSync(kept, '')
      execFileSync('chattr', ['+i', kept])
      try {
        await expect(sandbox.remove()).rejects.toThrow()
        const { state, end } = await sandbox.inspect()
        expect({ state, reason: end?.reason }).toEqual({ state: 'removing', reason: 'removed' })
      } finally {
        execFileSync('chattr', ['-i', kept])
      }
      if (by === 'another call') await sandbox.remove()
      else {
        await world.gateway.kill()
        await world.gateway.start()
      }
      expect(await sandbox.inspect()).toMatchObject({
        state: 'removed',
        end: { reason: 'removed', lastOutput: 'its second run\n', use: { memoryLimitBytes: 512 * 1024 ** 2 } },
      })
    },
  )

  it('that runs out of memory says so, and so does the exec', () =>
    withSandbox(
      async (sandbox) => {
        const result = await sandbox.exec('a=x; while :; do a=$a$a; done')
        expect(result).toMatchObject({ exitCode: null, signal: 'SIGKILL', oomKilled: true })
        // The exec was chosen, not the supervisor beside it.
        expect(await sandbox.exec(['echo', 'alive'])).toMatchObject({ stdout: 'alive\n' })
        expect((await sandbox.inspect()).state).toBe('running')
      },
      { memoryMB: 128 },
    ))

  it('is created once for one key, whoever asks how often', async () => {
    const options = { from: 'busybox', key: 'only-one', memoryMB: 256 }
    const made = await Promise.all(Array.from({ length: 5 }, () => world.create(options)))
    expect(new Set(made.map(({ id }) => id)).size).toBe(1)
    await expect(world.create({ ...options, memoryMB: 512 })).rejects.toMatchObject({ reason: 'key_reused' })
    await made[0]?.remove()
  })

  it('shares its name with no other', () =>
    withSandbox(
      async () => {
        await expect(world.create({ name: 'taken' })).rejects.toMatchObject({
          code: 'already_exists',
          reason: 'name_taken',
        })
      },
      { name: 'taken' },
    ))

  it('is found by its labels', async () => {
    const sandboxes = await Promise.all(['a', 'b'].map((run) => world.create({ labels: { run, kind: 'test' } })))
    const found = await world.client.sandboxes.list({ labels: { run: 'b', kind: 'test' } })
    expect(found.map(({ id }) => id)).toEqual([sandboxes[1]?.id])
    await Promise.all(sandboxes.map((sandbox) => sandbox.remove()))
  })

  it('of an image that is not there is refused with the command that helps', async () => {
    await expect(world.create({ from: 'nothing/here' })).rejects.toMatchObject({
      code: 'not_found',
      reason: 'image_not_found',
    })
  })

  it('keeps its image from being removed', () =>
    withSandbox(async () => {
      await expect(world.client.images.remove('busybox')).rejects.toMatchObject({ reason: 'image_in_use' })
    }))

  it('with a read-only root works all the same', () =>
    withSandbox(
      async (sandbox) => {
        expect(await sandbox.exec('touch /etc/x')).toMatchObject({ exitCode: 1 })
        expect(await sandbox.exec('echo y > /tmp/y; cat /tmp/y')).toMatchObject({ stdout: 'y\n' })
      },
      { readOnlyRoot: true },
    ))
})

describe('sandboxes that are killed at random points of their lives', () => {
  it('leave the host as it was', { timeout: 300_000 }, async () => {
    const before = leftovers(world.gateway.home).length
    const lives = Array.from({ length: 60 }, async (_, at) => {
      const abort = AbortSignal.timeout(20 + at * 15)
      const sandbox = await world.create({ memoryMB: 128, signal: abort }).catch(() => undefined)
      if (!sandbox) return
      const exec = await sandbox.spawn('sleep 100 & sleep 100')
      exec.result.catch(() => {})
      if (at % 3 === 0) process.kill(world.initPid(sandbox), 'SIGKILL')
      await sandbox.remove()
    })
    await Promise.all(lives)
    await world.until(
      async () => (await world.client.sandboxes.list()).length === 0,
      'aborted creates to be taken back',
      60_000,
    )
    expect(leftovers(world.gateway.home).length).toBe(before)
  })
})

describe('a gateway', () => {
  it('has its home to itself', () => {
    const second = spawnSync(process.execPath, [
      join(ROOT, 'packages/gateway/src/main.ts'),
      '--home',
      world.gateway.home,
    ])
    expect(second.status).toBe(75)
    expect(second.stdout.toString()).toContain('gateway_running')
  })

  it('refuses to serve other machines in the clear', () => {
    const main = join(ROOT, 'packages/gateway/src/main.ts')
    const open = spawnSync(process.execPath, [main, '--home', '/tmp/coppice-nowhere', '--listen', '0.0.0.0:0'])
    expect(open.status).toBe(1)
    expect(open.stdout.toString()).toContain('tls_required')
  })

  it('refuses callers without its token, under a foreign name, or from a foreign page', async () => {
    const ask = (headers: Record<string, string>) => fetch(`${world.gateway.url}/v1/sandboxes`, { headers })
    const authorization = `Bearer ${world.gateway.token}`
    expect((await ask({})).status).toBe(401)
    expect((await ask({ authorization, origin: 'https://evil.example' })).status).toBe(403)
    expect((await ask({ authorization })).status).toBe(200)
    expect(readFileSync(join(world.gateway.home, 'token'), 'utf8')).toContain(world.gateway.token)
  })

  it('does not start when others can read its token', async () => {
    await world.gateway.stop()
    chmodSync(join(world.gateway.home, 'token'), 0o644)
    const exposed = new GatewayProcess(world.gateway.home)
    await expect(exposed.start()).rejects.toThrow('token_exposed')
    chmodSync(join(world.gateway.home, 'token'), 0o600)
    await world.gateway.start()
  })

  it('adopts what runs, reports what ended meanwhile, and takes back what was half-made', {
    timeout: 120_000,
  }, async () => {
    const [running, killed] = [await world.create(), await world.create()]
    const halves: Promise<unknown>[] = []
    const underWay = async () => (await world.client.sandboxes.list()).some(({ state }) => state === 'creating')
    // One may be made between two looks.
    do halves.push(world.create().catch(() => undefined))
    while (!(await underWay()))
    const killedInit = world.initPid(killed)
    await world.gateway.kill()
    process.kill(killedInit, 'SIGKILL')
    await world.gateway.start()
    expect(await running.exec(['echo', 'adopted'])).toMatchObject({ stdout: 'adopted\n' })
    expect(await killed.inspect()).toMatchObject({ state: 'stopped', end: { reason: 'killed' } })
    await Promise.all(halves)
    for (const { id, state } of await world.client.sandboxes.list()) {
      expect(['running', 'stopped']).toContain(state)
      await world.client.sandboxes.remove(id)
    }
  })

  it('describes its API', async () => {
    const document = (await (await fetch(`${world.gateway.url}/openapi.json`)).json()) as {
      openapi: string
      paths: object
    }
    expect(document.openapi).toBe('3.1.0')
    expect(Object.keys(document.paths)).toContain('/v1/sandboxes/{sandbox}/execs')
  })

  it('ends and leaves nothing running but the sandboxes', async () => {
    const sandbox = await world.create()
    const { pid } = world.gateway
    await world.gateway.stop()
    expect(existsSync(`/proc/${pid}`)).toBe(false)
    expect(existsSync(join(world.gateway.home, 'gateway.json'))).toBe(false)
    await world.gateway.start()
    expect(await sandbox.exec(['true'])).toMatchObject({ exitCode: 0 })
    await sandbox.remove()
  })
})
