import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readlinkSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Driver } from '../driver.ts'
import { addHostProgram } from '../testing/host-program.ts'
import { OciSubject } from '../testing/oci-subject.ts'
import { DEFAULT_UID_BASE } from './driver.ts'

const none = Progress.none()
const EPERM = 1
const ENOSYS = 38

/** Numbers of x86-64: name, number, arguments, expected errno. */
const REFUSED: [string, number, string, number][] = [
  ['mount', 165, '0,0,0,0,0', EPERM],
  ['umount2', 166, '0,0', EPERM],
  ['pivot_root', 155, '0,0', EPERM],
  ['unshare(CLONE_NEWUSER)', 272, '0x10000000', EPERM],
  ['setns', 308, '0,0', EPERM],
  ['clone(CLONE_NEWUSER)', 56, '0x10000011,0,0,0,0', EPERM],
  ['clone3', 435, '0,0', ENOSYS],
  ['keyctl', 250, '0,0,0', EPERM],
  ['add_key', 248, '0,0,0,0,0', EPERM],
  ['request_key', 249, '0,0,0,0', EPERM],
  ['bpf', 321, '0,0,0', EPERM],
  ['perf_event_open', 298, '0,0,0,0,0', EPERM],
  ['userfaultfd', 323, '0', EPERM],
  ['io_uring_setup', 425, '1,0', EPERM],
  ['kexec_load', 246, '0,0,0,0', EPERM],
  ['init_module', 175, '0,0,0', EPERM],
  ['finit_module', 313, '0,0,0', EPERM],
  ['open_by_handle_at', 304, '0,0,0', EPERM],
  ['reboot', 169, '0,0,0,0', EPERM],
  ['swapon', 167, '0,0', EPERM],
  ['settimeofday', 164, '0,0', EPERM],
  ['fsopen', 430, '0,0', EPERM],
  ['move_mount', 429, '0,0,0,0,0', EPERM],
  ['socket(AF_ALG)', 41, '38,5,0', EPERM],
  ['socket(AF_VSOCK)', 41, '40,1,0', EPERM],
]

describe('what a sandbox is kept from', () => {
  let subject: OciSubject
  let unavailable: string | undefined
  let driver: Driver
  let id: string
  const sh = async (script: string, user?: string): Promise<string> =>
    (await subject.inside(id, ['sh', '-c', script], user)).output.trim()

  beforeAll(async () => {
    const opened = await OciSubject.open()
    if ('unavailable' in opened) {
      unavailable = opened.unavailable
      return
    }
    subject = opened
    addHostProgram(subject.layer, '/usr/bin/perl', '/usr/bin/perl', DEFAULT_UID_BASE)
    addHostProgram(subject.layer, '/usr/bin/id', '/usr/bin/setuid-id', DEFAULT_UID_BASE, 0o4755)
    addHostProgram(subject.layer, '/usr/bin/cat', '/usr/bin/capable-cat', DEFAULT_UID_BASE)
    if (existsSync('/usr/sbin/setcap')) {
      const file = join(subject.layer, 'usr/bin/capable-cat')
      execFileSync('/usr/sbin/setcap', ['-n', String(DEFAULT_UID_BASE), 'cap_net_bind_service+ep', file])
    }
    driver = subject.open()
    id = (await driver.create(subject.spec({ hostname: 'walled' }), none)).id
  })
  afterAll(async () => {
    await driver?.close()
    await subject?.close()
  })

  const walled = (name: string, body: () => Promise<void>): void =>
    test(name, async (context) => {
      if (unavailable) context.skip(unavailable)
      await body()
    })

  walled('root inside is not root outside', async () => {
    expect(await sh('cat /proc/self/uid_map /proc/self/gid_map')).toMatch(
      /^\s*0\s+1000000\s+65536\s+0\s+1000000\s+65536$/,
    )
    const { pid } = (await driver.inspect(id)) as { pid: number }
    expect(statSync(`/proc/${pid}`).uid).toBe(DEFAULT_UID_BASE)
  })

  walled('every namespace is its own', async () => {
    const { pid } = (await driver.inspect(id)) as { pid: number }
    for (const kind of ['user', 'pid', 'mnt', 'uts', 'ipc', 'cgroup', 'net']) {
      expect(readlinkSync(`/proc/${pid}/ns/${kind}`)).not.toBe(readlinkSync(`/proc/self/ns/${kind}`))
    }
    expect(await sh('hostname 2>/dev/null || cat /proc/sys/kernel/hostname')).toBe('walled')
  })

  walled('host processes cannot be seen', async () => {
    const pids = (await sh('ls /proc')).split('\n').filter((name) => /^\d+$/.test(name))
    expect(pids.length).toBeLessThan(10)
    expect(await sh('cat /proc/1/cmdline')).toContain('/.coppice/tini')
  })

  walled('nothing of it answers to the name node', async () => {
    expect(await sh('cat /proc/[0-9]*/comm /proc/[0-9]*/cmdline')).not.toMatch(/node/i)
  })

  walled('capabilities are the usual few, and none is inherited', async () => {
    const status = await sh('grep Cap /proc/self/status')
    expect(status).toMatch(/CapInh:\s+0000000000000000/)
    expect(status).toMatch(/CapAmb:\s+0000000000000000/)
    for (const set of ['Prm', 'Eff', 'Bnd']) expect(status).toMatch(new RegExp(`Cap${set}:\\s+00000000a80425fb`))
    expect(await sh('grep CapEff /proc/self/status', '1000:1000')).toMatch(/0000000000000000/)
  })

  walled('dangerous system calls are refused', async () => {
    if (process.arch !== 'x64') return
    const calls = REFUSED.map(([, number, args]) => `$! = 0; syscall(${number},${args}); print $!+0, "\\n";`)
    const { output } = await subject.inside(id, ['/usr/bin/perl', '-e', calls.join('')])
    const got = output.trim().split('\n').map(Number)
    expect(Object.fromEntries(REFUSED.map(([name], index) => [name, got[index]]))).toEqual(
      Object.fromEntries(REFUSED.map(([name, , , errno]) => [name, errno])),
    )
  })

  walled('the filter is on for everything that runs', async () => {
    expect(await sh('grep -h ^Seccomp: /proc/[0-9]*/status | grep -cv 2')).toBe('0')
  })

  walled('paths that tell about the host are masked, and settings of the host are read-only', async () => {
    expect(
      await sh('cat /proc/keys /proc/timer_list /proc/interrupts 2>/dev/null; ls /sys/firmware /proc/acpi 2>/dev/null'),
    ).not.toMatch(/\w{3,}.*\d/)
    expect(await sh('echo 1 > /proc/sys/kernel/panic || echo refused')).toContain('refused')
    expect(await sh('echo b > /proc/sysrq-trigger || echo refused')).toContain('refused')
    expect(await sh('mkdir /sys/fs/cgroup/memory/x || echo refused')).toContain('refused')
  })

  walled('devices are the usual harmless ones', async () => {
    const names = (await sh('ls /dev')).split('\n').sort()
    const expected = [
      'fd',
      'full',
      'mqueue',
      'null',
      'ptmx',
      'pts',
      'random',
      'shm',
      'stderr',
      'stdin',
      'stdout',
      'tty',
      'urandom',
      'zero',
    ]
    expect(names).toEqual(expected)
    expect(await sh('/.coppice/busybox mknod /tmp-disk b 254 0 || echo refused')).toContain('refused')
  })

  walled('the network is loopback, and it is up', async () => {
    const links = await sh('ip -o link')
    expect(links.split('\n')).toHaveLength(1)
    expect(links).toMatch(/lo: <LOOPBACK,UP/)
  })

  walled('its own limits cannot be written, its execs groups can', async () => {
    const memory = existsSync('/sys/fs/cgroup/cgroup.controllers') ? '/.coppice-cgroup' : '/.coppice-cgroup/memory'
    expect(
      await sh(
        `for f in ${memory}/memory.limit_in_bytes ${memory}/memory.max; do [ -e $f ] && { echo 1 > $f || echo refused; }; done`,
      ),
    ).toMatch(/refused/)
    expect(
      await sh(`mkdir ${memory}/one && echo $$ > ${memory}/one/cgroup.procs && grep -c execs/one /proc/self/cgroup`),
    ).toMatch(/^[12]$/)
    expect(
      await sh('for f in $(find /sys/fs/cgroup -name cgroup.procs); do echo $$ > $f || echo refused; done'),
    ).toMatch(/refused/)
    expect(await sh('grep -v execs /proc/self/cgroup | grep -vc ":/$"')).toBe('0')
  })

  walled('bundle and socket folder are read-only, the token is for root alone', async () => {
    expect(await sh('touch /.coppice/x || echo refused; touch /.coppice-run/x || echo refused')).toMatch(
      /refused\n.*refused|refused[\s\S]*refused/,
    )
    expect(await sh('cat /.coppice-run/sandbox.json')).toContain('"token"')
    expect(
      await sh('cat /.coppice-run/sandbox.json || echo refused; ls /.coppice-state || echo refused', '1000:1000'),
    ).toMatch(/refused[\s\S]*refused/)
  })

  walled('a setuid program becomes root inside', async () => {
    expect(await sh('/usr/bin/setuid-id', '1000:1000')).toMatch(/euid=0/)
    expect(await sh('grep NoNewPrivs /proc/self/status')).toMatch(/0$/)
  })

  test('a file capability works', async (context) => {
    if (unavailable) context.skip(unavailable)
    if (!existsSync('/usr/sbin/setcap')) context.skip('setcap is missing: apt-get install libcap2-bin')
    const status = await sh('/usr/bin/capable-cat /proc/self/status', '1000:1000')
    expect(status).toMatch(/CapEff:\s+0000000000000400/)
  })

  walled('links in an image are not followed when files are written into it', async () => {
    const layer = join(subject.workspace.path, 'links')
    const outside = join(subject.workspace.path, 'outside')
    mkdirSync(join(layer, 'etc'), { recursive: true })
    writeFileSync(outside, 'untouched')
    for (const name of ['hosts', 'hostname', 'resolv.conf']) symlinkSync(outside, join(layer, 'etc', name))
    const spec = subject.spec()
    spec.image.layers = [subject.layer, layer]
    await driver.create(spec, none)
    expect(readFileSync(outside, 'utf8')).toBe('untouched')
    expect((await subject.inside(spec.id, ['cat', '/etc/hostname'])).output).toBe('sandbox\n')
    await driver.remove(spec.id, none)
  })

  walled('a mount point in an image that is a link stays inside the sandbox', async () => {
    const layer = join(subject.workspace.path, 'escape')
    const outside = join(subject.workspace.path, 'escaped')
    mkdirSync(layer, { recursive: true })
    mkdirSync(outside)
    for (const name of ['.coppice', '.coppice-state', '.coppice-run', 'proc', 'sys'])
      symlinkSync(outside, join(layer, name))
    const spec = subject.spec()
    spec.image.layers = [subject.layer, layer]
    await driver.create(spec, none).catch((error: unknown) => expect(error).toMatchObject({ name: 'CoppiceError' }))
    expect(execFileSync('ls', ['-A', outside], { encoding: 'utf8' })).toBe('')
    await driver.remove(spec.id, none)
  })
})
