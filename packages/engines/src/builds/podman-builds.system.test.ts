import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildTar, makeBusyboxArchive, RegistryServer, type TestEntry } from '@coppice/images/testing'
import { CoppiceError, Progress } from '@coppice/protocol/wire'
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import type { Engine } from '../api/engine.ts'
import { PrivatePodman } from '../testing/private-podman.ts'
import type { BuildOptions } from './options.ts'

const none = Progress.none()

/** Podman's builder sets limits of processes to the kernel's highest whatever it is told, which takes a capability: runc without them. */
const RUNC = `#!/bin/sh
last=
for word; do [ "$last" = --bundle ] && bundle=$word; last=$word; done
[ -n "$bundle" ] && sed -i -E 's/"rlimits":\\[[^]]*\\]/"rlimits":[]/' "$bundle/config.json"
exec runc "$@"
`

describe('builds by Podman', () => {
  let podman: PrivatePodman
  let dir: string
  let engine: Engine
  let registry: RegistryServer | undefined
  let unavailable: string | undefined
  const login = { username: 'me', secret: 'my word' }

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'coppice-builds-'))
    const runc = join(dir, 'runc')
    writeFileSync(runc, RUNC, { mode: 0o755 })
    const opened = await PrivatePodman.open(runc)
    if ('unavailable' in opened) {
      unavailable = opened.unavailable
      return
    }
    podman = opened
    engine = await podman.connect()
    await podman.run('import', await makeBusyboxArchive(join(dir, 'busybox.tar')), 'busybox:1')
    if (await RegistryServer.missing()) return
    registry = await RegistryServer.start({ login: { username: login.username, password: login.secret } })
    writeFileSync(podman.registriesFile, `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`)
  })
  afterAll(async () => {
    await registry?.stop()
    await podman?.close()
    rmSync(dir, { recursive: true, force: true })
  })

  const needs = (context: TestContext): void => {
    if (unavailable) context.skip(unavailable)
  }
  const build = (dockerfile: string, options: Partial<BuildOptions> = {}, ...more: TestEntry[]) => {
    const tar = buildTar([{ name: 'Dockerfile', body: dockerfile }, ...more])
    async function* chunks() {
      yield tar
    }
    const all = { tag: 'built', network: 'none', ...options }
    return Array.fromAsync(engine.builds.build({ sizeBytes: tar.length, chunks: chunks() }, all, none))
  }
  /** Files below Podman's folder, among them what it unpacks contexts to, that hold this. */
  const holding = (text: string): string[] =>
    readdirSync(podman.dir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => readFileSync(path).includes(text))

  test('give secrets to the steps that ask, and neither image nor context has them', async (context) => {
    needs(context)
    const bytes = randomBytes(24).toString('hex')
    const secrets = new Map([
      ['token', Buffer.from(bytes)],
      ['large', Buffer.alloc(500 * 1024, 7)],
    ])
    const lines = await build(
      `FROM busybox:1
       COPY . /all
       RUN --mount=type=secret,id=token --mount=type=secret,id=large sha256sum < /run/secrets/token; wc -c < /run/secrets/large
       RUN ls -A /all; test ! -e /run/secrets/token && echo gone`,
      { secrets },
      { name: 'file', body: 'x' },
    )
    expect(lines).toContain(`${createHash('sha256').update(bytes).digest('hex')}  -`)
    expect(lines).toEqual(expect.arrayContaining([String(500 * 1024), 'gone']))
    expect(lines.slice(-12).join('\n')).not.toContain('coppice-secret')
    const saved = Buffer.concat(await Array.fromAsync(engine.images.save(['built'], none)))
    expect(saved.includes(bytes)).toBe(false)
    expect(saved.includes('coppice-secret')).toBe(false)
    expect(holding(bytes)).toEqual([])
  })

  test('tell a step that cannot do without a secret', async (context) => {
    needs(context)
    await expect(build('FROM busybox:1\nRUN --mount=type=secret,id=token,required=true true\n')).rejects.toMatchObject({
      reason: 'build_failed',
      hint: expect.stringContaining('--secret'),
    })
  })

  test('are told who is asking a registry for a base image', async (context) => {
    needs(context)
    const { host } = registry ?? context.skip((await RegistryServer.missing()) ?? 'no registry')
    const name = `${host}/team/base:1`
    await podman.run('tag', 'busybox:1', name)
    const pushed = await podman.run('push', '--creds', `${login.username}:${login.secret}`, name)
    expect(pushed).toMatchObject({ exitCode: 0 })
    await podman.run('rmi', name)
    const refused = await build(`FROM ${name}\n`).catch((cause: unknown) => CoppiceError.from(cause).message)
    expect(refused).toMatch(/unauthorized|authentication required/)
    const lines = await build(`FROM ${name}\nRUN echo on it\n`, { findLogin: async () => login, registries: [host] })
    expect(lines).toContain('on it')
    expect(lines.join('\n')).not.toContain(login.secret)
  })
})
