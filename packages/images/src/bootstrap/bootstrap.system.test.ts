import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Progress, type ProgressEvent } from '@coppice/protocol/wire'
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest'
import { requirePrograms } from '../host/programs.ts'
import { ImageStore } from '../image-store.ts'
import { bootstrap } from './bootstrap.ts'

describe('the base image', { timeout: 600_000 }, () => {
  let dir: string
  let store: ImageStore
  let reachable = true

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'coppice-bootstrap-'))
    reachable = await requirePrograms('debootstrap').then(
      () => true,
      () => false,
    )
  })
  afterAll(() => rm(dir, { recursive: true, force: true }))

  const needsDebootstrap = (ctx: TestContext) => ctx.skip(!reachable, 'debootstrap is not installed')
  const options = () => ({ store, cacheDir: join(dir, 'cache') })

  it('is not there after bootstrap was killed, and neither are mounts, processes or folders', async (ctx) => {
    needsDebootstrap(ctx)
    const script = new URL('../testing/bootstrap-once.ts', import.meta.url).pathname
    const child = spawn(process.execPath, [script, join(dir, 'store'), join(dir, 'cache')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    for await (const line of createInterface({ input: child.stdout })) if (Number(line) >= 40) break
    child.kill('SIGKILL')
    await once(child, 'close')
    expect(await readFile('/proc/mounts', 'utf8')).not.toContain(dir)
    store = await ImageStore.open(join(dir, 'store'))
    expect((await store.list()).images).toEqual([])
  })

  it('is made with a progress that never falls and ends at 100', async (ctx) => {
    needsDebootstrap(ctx)
    const events: ProgressEvent[] = []
    const info = await bootstrap(options(), new Progress({ onEvent: (event) => events.push(event) }))
    expect(info).toMatchObject({
      name: 'base',
      layers: 1,
      config: { user: 'user', cwd: '/home/user', env: { LANG: 'C.UTF-8' } },
    })
    const percents = events.map((event) => event.done ?? -1)
    expect(percents).toEqual(percents.toSorted((a, b) => a - b))
    expect([percents.at(-1), new Set(events.map((event) => event.total))]).toEqual([100, new Set([100])])
    expect(new Set(percents).size).toBeGreaterThan(50)
    const [owner = ''] = await readdir(join(dir, 'cache/tmp'))
    expect(await readdir(join(dir, 'cache/tmp', owner))).toEqual([])
  })

  it('holds what agents need, and a user who may do everything', async (ctx) => {
    needsDebootstrap(ctx)
    const [layer = ''] = await store.unpack(await store.resolve('base'), { uidBase: 0 }, Progress.none())
    for (const folder of ['upper', 'work', 'merged']) await mkdir(join(dir, folder))
    const inside = (command: string) =>
      execFileSync(
        'unshare',
        [
          '--mount',
          '--uts',
          'sh',
          '-euc',
          `
          mount -t overlay overlay -o lowerdir=$1,upperdir=upper,workdir=work merged
          mount --rbind /dev merged/dev; mount -t proc proc merged/proc; hostname sandbox
          exec chroot merged su user -s /bin/bash -c "cd; $2"`,
          'sh',
          layer,
          command,
        ],
        { cwd: dir, encoding: 'utf8' },
      ).trim()
    expect(inside('id -u; pwd')).toBe('1000\n/home/user')
    expect(inside('sudo -n id -u')).toBe('0')
    expect(
      inside(
        'export http_proxy=a HTTPS_PROXY=b NODE_USE_ENV_PROXY=1 OTHER=c; sudo -n env | grep =[abc1]$ | LC_ALL=C sort',
      ),
    ).toBe('HTTPS_PROXY=b\nNODE_USE_ENV_PROXY=1\nhttp_proxy=a')
    expect(inside('python -c "print(6*7)"; python3 --version')).toMatch(/^42\nPython 3/)
    expect(inside('git --version; curl --version | head -1; ls --version | head -1')).toMatch(
      /git version.*\ncurl.*\nls/,
    )
    expect(inside('ls /etc/ssl/certs/ca-certificates.crt; ps -o pid= -p 1')).toContain('ca-certificates.crt')
    expect(inside('sudo -n dpkg --audit; sudo -n apt-get check -qq; apt-config dump APT::Sandbox::User')).toBe(
      'APT::Sandbox::User "root";',
    )
    expect(inside('LANG=C.UTF-8 locale charmap; cat /etc/hostname; cat /etc/resolv.conf')).toBe('UTF-8\nsandbox')
  })

  it('is left alone when it is there already, unless told otherwise', async (ctx) => {
    needsDebootstrap(ctx)
    const before = await store.resolve('base')
    const events: ProgressEvent[] = []
    expect(await bootstrap(options(), new Progress({ onEvent: (event) => events.push(event) }))).toMatchObject({
      digest: before.digest,
    })
    expect(events).toEqual([])
    const abort = new AbortController()
    const onEvent = ({ done = 0 }: ProgressEvent) => done >= 5 && abort.abort()
    await expect(
      bootstrap({ ...options(), force: true }, new Progress({ signal: abort.signal, onEvent })),
    ).rejects.toMatchObject({
      code: 'cancelled',
    })
    expect((await store.resolve('base')).digest).toBe(before.digest)
  })

  it('says what is wrong when the suite does not exist', async (ctx) => {
    needsDebootstrap(ctx)
    const unknown = bootstrap({ ...options(), force: true, suite: 'nosuchsuite' }, Progress.none())
    await expect(unknown).rejects.toMatchObject({ code: 'unavailable', reason: 'debootstrap_failed' })
  })
})
