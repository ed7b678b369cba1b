import { execFile } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Progress } from '@coppice/protocol/wire'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ImageStore } from '../image-store.ts'
import { type Issued, TestAuthority } from '../testing/authority.ts'
import { RegistryServer } from '../testing/registry-server.ts'
import { buildTar } from '../testing/tar-builder.ts'
import { certificateFolders, findCertificates } from './certificates.ts'

const execute = promisify(execFile)
const none = Progress.none()

/** It means this machine, as 127.0.0.1 does, and is not one of the names whose certificates are not checked. */
const NAME = '0.0.0.0'

describe('a registry with a certificate of a company of its own', { timeout: 60_000 }, () => {
  let missing: string | undefined
  let dir: string
  let registry: RegistryServer
  let strict: RegistryServer
  let authority: TestAuthority
  let client: Issued
  let store: ImageStore

  beforeAll(async () => {
    missing = await RegistryServer.missing()
    if (missing) return
    dir = await mkdtemp(join(tmpdir(), 'coppice-certificates-'))
    authority = await TestAuthority.make(dir, 'company')
    const server = await authority.issue('server', [`IP:${NAME}`])
    client = await authority.issue('client', [])
    registry = await RegistryServer.start({ tls: server })
    strict = await RegistryServer.start({ tls: { ...server, clientAuthority: authority.certificate } })
    store = await ImageStore.open(join(dir, 'store'))
    await writeFile(join(dir, 'app.tar'), buildTar([{ name: 'hello', body: 'hello' }]))
    await store.import(join(dir, 'app.tar'), { name: 'app' }, none)
  })
  afterAll(async () => {
    if (missing) return
    await registry.stop()
    await strict.stop()
    await rm(dir, { recursive: true, force: true })
  })
  beforeEach((ctx) => {
    if (missing) ctx.skip(missing)
  })

  const hostOf = ({ host }: RegistryServer) => host.replace('127.0.0.1', NAME)
  /** A `certs.d` with files for one registry: where they are to be from, where they are now. */
  const certsFor = async (server: RegistryServer, files: Record<string, string>) => {
    const root = await mkdtemp(join(dir, 'certs-'))
    await mkdir(join(root, hostOf(server)))
    for (const [name, from] of Object.entries(files)) await copyFile(from, join(root, hostOf(server), name))
    return { certificateFolders: [join(dir, 'not-there'), root], credentials: 'anonymous' as const, retryMs: 1 }
  }
  const push = async (server: RegistryServer, files: Record<string, string>) =>
    store.push('app', `${hostOf(server)}/team/app:1`, { registry: await certsFor(server, files) }, none)

  it('is refused, with the place where its authority belongs', async () => {
    await expect(push(registry, {})).rejects.toMatchObject({
      reason: 'registry_certificate',
      hint: `cp ca.crt /etc/docker/certs.d/${hostOf(registry)}/`,
    })
  })

  it('is trusted by an authority in certs.d, for pushes and pulls', async () => {
    const { digest } = await push(registry, { 'ca.crt': authority.certificate })
    const settings = await certsFor(registry, { 'ca.crt': authority.certificate })
    const other = await ImageStore.open(join(dir, 'other'))
    const pulled = await other.import(`docker://${hostOf(registry)}/team/app:1`, { registry: settings }, none)
    expect(pulled.digest).toBe(digest)
  })

  it('is trusted by an authority that this machine has for everything', async () => {
    await push(registry, { 'ca.crt': authority.certificate })
    const script = new URL('../testing/import-once.ts', import.meta.url).pathname
    const source = `docker://${hostOf(registry)}/team/app:1`
    const env = { ...process.env, DOCKER_CONFIG: dir, SSL_CERT_FILE: authority.certificate }
    const { stdout } = await execute(process.execPath, [script, join(dir, 'system'), source], { env })
    expect(stdout).toContain('"name"')
  })

  it('is shown the client certificate that it demands, and says so where there is none or another', async () => {
    const ca = { 'ca.crt': authority.certificate }
    await push(strict, { ...ca, 'me.cert': client.certificate, 'me.key': client.key })
    const refused = { reason: 'registry_client_certificate', hint: expect.stringContaining('client.key') }
    await expect(push(strict, ca)).rejects.toMatchObject(refused)
    const foreign = await (await TestAuthority.make(dir, 'foreign')).issue('stranger', [])
    await expect(push(strict, { ...ca, 'me.cert': foreign.certificate, 'me.key': foreign.key })).rejects.toMatchObject(
      refused,
    )
  })

  it('is a mirror by its own certificates', async () => {
    const files = { 'ca.crt': authority.certificate, 'me.cert': client.certificate, 'me.key': client.key }
    const { digest } = await push(strict, files)
    const settings = {
      ...(await certsFor(strict, files)),
      mirrors: { 'registry.invalid': [`https://${hostOf(strict)}/team`] },
    }
    const image = await store.import('docker://registry.invalid/app:1', { registry: settings }, none)
    expect(image).toMatchObject({ digest, name: 'registry.invalid/app:1' })
    const said: string[] = []
    const progress = new Progress({ onEvent: ({ message }) => said.push(message) })
    const unknown = { ...settings, certificateFolders: [] }
    await expect(
      store.import('docker://registry.invalid/app:1', { registry: unknown }, progress),
    ).rejects.toMatchObject({
      reason: 'registry_unreachable',
      facts: { mirrors: [{ reason: 'registry_certificate' }] },
    })
    expect(said.find((line) => line.includes('passed over'))).toContain('is not trusted')
  })

  it.each([
    ['a certificate without its key', { 'me.cert': 'client' }, /me\.key/],
    ['a key of another certificate', { 'me.cert': 'client', 'me.key': 'other' }, /me\.cert/],
    ['an authority that is none', { 'ca.crt': 'key' }, /ca\.crt/],
  ])('is not asked with %s', async (_, kinds, file) => {
    const other = await authority.issue('other', [])
    const from: Record<string, string> = { client: client.certificate, other: other.key, key: client.key }
    const files = Object.fromEntries(Object.entries(kinds).map(([name, kind]) => [name, from[kind] as string]))
    const failure = await push(registry, files).catch((error) => error)
    expect(failure).toMatchObject({ reason: 'certificate_unreadable', facts: { path: expect.stringMatching(file) } })
    expect(JSON.stringify(failure.toBody())).not.toContain('PRIVATE KEY')
  })

  it('has its certificates where Docker and containers have them', async () => {
    const folders = certificateFolders('/home/u', {})
    expect(folders).toEqual(
      ['/etc/docker', '/etc/containers', '/home/u/.config/docker', '/home/u/.config/containers'].map(
        (at) => `${at}/certs.d`,
      ),
    )
    expect(await findCertificates('nowhere.invalid', folders)).toBeUndefined()
  })
})
