import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterAll, afterEach, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import { eventually } from '../contract/subject.ts'
import type { SandboxSpec } from '../driver.ts'
import { identify, isAlive } from '../host/process.ts'
import { sandboxCapabilities } from '../oci/capabilities.ts'
import { EngineSubject } from '../testing/engine-subject.ts'
import type { EngineDriver } from './driver.ts'

const none = Progress.none()

for (const kind of ['docker', 'podman'] as const) {
  describe(`a sandbox in ${kind}`, () => {
    let subject: EngineSubject
    let unavailable: string | undefined
    let driver: EngineDriver

    beforeAll(async () => {
      const opened = await EngineSubject.open(kind)
      if ('unavailable' in opened) {
        unavailable = opened.unavailable
        return
      }
      subject = opened
      driver = subject.open()
    })
    afterEach(async () => {
      for (const { id } of (await driver?.list(none)) ?? []) await driver.remove(id, none)
    })
    afterAll(async () => {
      await driver?.close()
      await subject?.close()
    })

    const specOf = (context: TestContext, changes: Partial<SandboxSpec> = {}): SandboxSpec => {
      if (unavailable) context.skip(unavailable)
      return subject.spec(changes)
    }
    const sh = async (id: string, script: string): Promise<string> => {
      const { exitCode, output } = await subject.inside(id, ['sh', '-c', script])
      return exitCode === 0 ? output : `${output}[${exitCode}]`
    }

    test('has the capabilities of the oci driver, its filter, no new privileges, and no network but loopback', async (context) => {
      const { pid } = await driver.create(specOf(context), none)
      const status = readFileSync(`/proc/${pid}/status`, 'utf8')
      const field = (name: string): string => new RegExp(`^${name}:\\s+(\\S+)`, 'm').exec(status)?.[1] ?? ''
      expect(
        BigInt(`0x${field('CapBnd')}`)
          .toString(2)
          .replaceAll('0', ''),
      ).toHaveLength(sandboxCapabilities().bounding.length)
      expect([field('CapBnd'), field('CapPrm'), field('CapEff')]).toEqual(Array(3).fill(field('CapBnd')))
      expect([field('CapInh'), field('CapAmb'), field('NoNewPrivs'), field('Seccomp')]).toEqual([
        '0000000000000000',
        '0000000000000000',
        '1',
        '2',
      ])
      const interfaces = readFileSync(`/proc/${pid}/net/dev`, 'utf8').match(/^\s*\w+(?=:)/gm)
      expect(
        interfaces?.map((name) => name.trim()).filter((name) => !/^(sit|tunl|ip6tnl|gre|erspan)/.test(name)),
      ).toEqual(['lo'])
    })

    test('cannot make namespaces, mounts or devices, nor write the bundle and the socket folder', async (context) => {
      const { id } = await driver.create(specOf(context), none)
      expect(await sh(id, 'unshare -U true')).toMatch(/not permitted/)
      expect(await sh(id, 'mount -t tmpfs none /bin')).toMatch(/\[/)
      expect(await sh(id, 'touch /.coppice/x')).toMatch(/Read-only/)
      expect(await sh(id, 'touch /.coppice-run/x')).toMatch(/Read-only/)
      expect(await sh(id, 'cat /.coppice-run/sandbox.json')).toContain('"token"')
      expect(await sh(id, 'touch /.coppice-state/x && cat /etc/resolv.conf')).toContain('nameserver')
    })

    test('has no more than the resolver, its name, and a host name of its own', async (context) => {
      const { id } = await driver.create(specOf(context, { hostname: 'my-machine' }), none)
      expect(await sh(id, 'cat /proc/sys/kernel/hostname; cat /etc/hostname; cat /etc/hosts')).toMatch(
        /^my-machine\nmy-machine\n[\s\S]*127\.0\.1\.1\tmy-machine/,
      )
    })

    test('is started again with the bundle, the socket folder and the limits of then', async (context) => {
      const spec = specOf(context)
      await driver.create(spec, none)
      await sh(spec.id, 'echo kept > /kept')
      await driver.stop(spec.id, 10_000, none)
      const runtimeDir = join(subject.workspace.path, 'another-bundle')
      cpSync(spec.runtimeDir, runtimeDir, { recursive: true, verbatimSymlinks: true })
      writeFileSync(join(runtimeDir, 'mark'), 'another bundle')
      const runDir = join(subject.workspace.path, 'another-run')
      mkdirSync(runDir)
      const limits = { memoryMB: 128, cpus: 0.25, pids: 99 }
      const supervisor = { ...spec.supervisor, token: 'another' }
      await driver.start({ ...spec, runtimeDir, runDir, limits, supervisor }, none)
      expect(await sh(spec.id, 'cat /kept /.coppice/mark; cat /.coppice-run/sandbox.json')).toMatch(
        /^kept\nanother bundle[\s\S]*"token":"another"/,
      )
      expect(await driver.stats(spec.id)).toMatchObject({
        memoryLimitBytes: 128 * 1024 * 1024,
        cpusLimit: 0.25,
        pidsLimit: 99,
      })
      await driver.stop(spec.id, 0, none)
      await driver.start(spec, none)
      expect(await driver.stats(spec.id)).toMatchObject({ memoryLimitBytes: 256 * 1024 * 1024, pidsLimit: 128 })
    })

    test('whose init ends by itself with a code has exited with that', async (context) => {
      const spec = specOf(context)
      const runtimeDir = join(subject.workspace.path, 'ending-bundle')
      cpSync(spec.runtimeDir, runtimeDir, { recursive: true, verbatimSymlinks: true })
      writeFileSync(
        join(runtimeDir, 'init.sh'),
        'until [ -e /.coppice-state/go ]; do /.coppice/busybox sleep 0.02; done; exit 7\n',
      )
      const { id } = await driver.create({ ...spec, runtimeDir }, none)
      await sh(id, 'touch /.coppice-state/go')
      await eventually('its end', async () => ((await driver.inspect(id))?.state === 'stopped' ? true : undefined))
      expect(await driver.inspect(id)).toMatchObject({ end: { reason: 'exited', exitCode: 7 } })
    })

    test('whose init cannot run says why, and leaves nothing', async (context) => {
      const spec = specOf(context)
      const runtimeDir = join(subject.workspace.path, `no-tini-${kind}`)
      mkdirSync(runtimeDir)
      await expect(driver.create({ ...spec, runtimeDir }, none)).rejects.toMatchObject({
        name: 'CoppiceError',
        message: expect.stringMatching(/tini/),
      })
      expect(await subject.residue()).toEqual([])
    })

    test('whose creation is aborted while the engine works leaves nothing', async (context) => {
      for (const afterMs of [80, 130, 180, 240, 300]) {
        const spec = specOf(context)
        const made = await driver.create(spec, new Progress({ timeoutMs: afterMs })).catch((cause: unknown) => cause)
        if (made instanceof Error) expect(made).toMatchObject({ code: 'deadline_exceeded' })
        else await driver.remove(spec.id, none)
        expect(await subject.residue()).toEqual([])
      }
    })

    test('is removed with processes that do not want to go', async (context) => {
      const { id, pid } = await driver.create(specOf(context), none)
      await sh(id, 'for i in 1 2 3; do (trap "" TERM INT HUP; while :; do sleep 1000; done) >/dev/null 2>&1 & done')
      const init = identify(pid as number)
      await driver.remove(id, none)
      expect(init && isAlive(init)).toBe(false)
      expect(await subject.residue()).toEqual([])
    })
  })
}
