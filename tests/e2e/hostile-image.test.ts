import { execFileSync } from 'node:child_process'
import { createReadStream, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeBusyboxRootfs } from '@coppice/images/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openWorld, type World } from '../support/world.ts'

/** What loaders, C libraries, Node and ICU look for when a program starts. */
const WAITED_FOR = [
  ...['etc/ld.so.preload', 'etc/ld.so.cache', 'etc/localtime', 'etc/timezone', 'etc/TZ'],
  ...['etc/ssl/openssl.cnf', 'usr/lib/ssl/openssl.cnf', 'usr/local/ssl/openssl.cnf', 'usr/lib/locale/locale-archive'],
  ...['', 'Etc/', 'posix/'].flatMap((folder) =>
    ['UTC', 'Universal', 'GMT', 'Zulu'].map((zone) => `usr/share/zoneinfo/${folder}${zone}`),
  ),
  ...['tzdata.zi', 'posixrules', 'localtime'].map((name) => `usr/share/zoneinfo/${name}`),
]

let world: World

/** Has an image in the store, of that name, in which these paths are FIFOs. */
async function importWithFifos(name: string, paths: string[]): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'coppice-hostile-'))
  const rootfs = join(dir, 'rootfs')
  execFileSync('mkdir', [rootfs])
  await writeBusyboxRootfs(rootfs)
  for (const path of paths) {
    execFileSync('mkdir', ['-p', join(path, '..')], { cwd: rootfs })
    execFileSync('rm', ['-f', path], { cwd: rootfs })
    execFileSync('mkfifo', [path], { cwd: rootfs })
  }
  const archive = join(dir, 'image.tar')
  execFileSync('tar', ['-cf', archive, '--numeric-owner', '--owner=0', '--group=0', '-C', rootfs, '.'])
  await world.client.images.import(createReadStream(archive), { name })
}

beforeAll(async () => {
  world = await openWorld()
})
afterAll(() => world?.dispose())

it('a sandbox starts from an image in which everything that programs read at their start is a FIFO', async () => {
  await importWithFifos('hostile', WAITED_FOR)
  const sandbox = await world.create({ from: 'hostile' })
  expect(await sandbox.exec(['echo', 'here'])).toMatchObject({ exitCode: 0, stdout: 'here\n' })
  expect(await sandbox.exec(['id', '-u'], { user: '1000' })).toMatchObject({ exitCode: 0, stdout: '1000\n' })
  process.kill(world.supervisorPid(sandbox), 'SIGKILL')
  expect(await sandbox.exec(['echo', 'again'])).toMatchObject({ exitCode: 0, stdout: 'again\n' })
}, 60_000)

it('what the supervisor is given for itself is not in the environment of execs, and a time zone of theirs is', async () => {
  const sandbox = await world.create({ env: { TZ: 'Asia/Tokyo' } })
  const { stdout } = await sandbox.exec(['env'])
  expect(stdout).toContain('TZ=Asia/Tokyo\n')
  expect(stdout).not.toMatch(/TZDIR|OPENSSL/)
  const other = await world.create()
  expect((await other.exec(['env'])).stdout).not.toMatch(/TZ|OPENSSL/)
})

it.each(['etc/passwd', 'etc/group'])('one whose /%s is a FIFO is refused by name', async (path) => {
  const name = path.replace('/', '-')
  await importWithFifos(name, [path])
  await expect(world.create({ from: name })).rejects.toMatchObject({
    reason: 'accounts_unreadable',
    facts: { path: `/${path}` },
  })
})
