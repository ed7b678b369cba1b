import { Progress } from '@coppice/protocol/wire'
import { expect, test } from 'vitest'
import type { SandboxSpec } from '../driver.ts'
import { CgroupsV2 } from './cgroups/v2.ts'
import { sandboxConfig } from './config.ts'
import { createOciDriver } from './driver.ts'
import { mountOverlay, overlayFolders, overlayOptions } from './overlay.ts'
import { sandboxSeccomp } from './seccomp.ts'
import { ALLOWED_SYSCALLS } from './syscalls.ts'

const spec = (changes: Partial<SandboxSpec> = {}): SandboxSpec =>
  ({
    id: 'sb-1',
    hostname: 'name',
    limits: { memoryMB: 64, cpus: 1, pids: 32 },
    readOnlyRoot: false,
    runtimeDir: '/bundle',
    runDir: '/run-dir',
    labels: { 'coppice.sandbox': 'sb-1' },
    ...changes,
  }) as SandboxSpec
const config = (uidBase: number, changes: Partial<SandboxSpec> = {}, maxOpenFiles = 20_000) =>
  sandboxConfig({
    spec: spec(changes),
    rootfs: '/merged',
    stateDir: '/state',
    uidBase,
    cgroups: new CgroupsV2('/sys/fs/cgroup', '/coppice/0123abcd'),
    maxOpenFiles,
  })

test('with a shifted range root may gain privileges, because they are nothing outside', () => {
  const { process: init, linux } = config(1_000_000)
  expect(linux.uidMappings).toEqual([{ containerID: 0, hostID: 1_000_000, size: 65_536 }])
  expect(linux.gidMappings).toEqual(linux.uidMappings)
  expect(linux.namespaces.map(({ type }) => type).sort()).toEqual([
    'cgroup',
    'ipc',
    'mount',
    'network',
    'pid',
    'user',
    'uts',
  ])
  expect(init.noNewPrivileges).toBe(false)
})

test('where root inside would be root outside, no new privileges are to be had', () => {
  const { process: init, linux } = config(0)
  expect(linux.uidMappings).toBeUndefined()
  expect(linux.namespaces.map(({ type }) => type)).not.toContain('user')
  expect(init.noNewPrivileges).toBe(true)
})

test('no capability is inheritable or ambient, and none is left out of the bounding set', () => {
  const { capabilities } = config(1_000_000).process
  expect(capabilities.inheritable).toEqual([])
  expect(capabilities.ambient).toEqual([])
  expect(capabilities.bounding).toEqual(capabilities.permitted)
  for (const refused of ['CAP_SYS_ADMIN', 'CAP_SYS_PTRACE', 'CAP_NET_ADMIN', 'CAP_SYS_MODULE', 'CAP_BPF']) {
    expect(capabilities.bounding).not.toContain(refused)
  }
})

test('the groups that may ping end where the groups of the sandbox do', () => {
  expect(config(1_000_000).linux.sysctl).toEqual({
    'net.ipv4.ip_unprivileged_port_start': '0',
    'net.ipv4.ping_group_range': '0 65535',
  })
})

test('open files are limited by what this process may hand on', () => {
  expect(config(1, {}, 4096).process.rlimits[0]).toEqual({ type: 'RLIMIT_NOFILE', soft: 4096, hard: 4096 })
  expect(config(1, {}, 10_000_000).process.rlimits[0]).toEqual({ type: 'RLIMIT_NOFILE', soft: 65_536, hard: 1_048_576 })
})

test('a read-only root keeps places to write', () => {
  const writable = (changes: Partial<SandboxSpec>) =>
    config(1_000_000, changes)
      .mounts.filter(({ type, destination }) => type === 'tmpfs' && ['/tmp', '/run'].includes(destination))
      .map(({ destination }) => destination)
  expect(writable({ readOnlyRoot: true })).toEqual(['/tmp', '/run'])
  expect(writable({})).toEqual([])
  expect(config(1_000_000, { readOnlyRoot: true }).root.readonly).toBe(true)
})

test('the bundle and the socket folder are mounted read-only, nothing of the sandbox can gain by the state folder', () => {
  const options = (destination: string) =>
    config(1_000_000).mounts.find((mount) => mount.destination === destination)?.options
  expect(options('/.coppice')).toContain('ro')
  expect(options('/.coppice-run')).toContain('ro')
  expect(options('/.coppice-state')).toEqual(expect.arrayContaining(['nosuid', 'nodev', 'noexec']))
})

test('the filter refuses what is not listed, tells C libraries that clone3 is not there, and lists nothing twice', () => {
  const profile = sandboxSeccomp('x64')
  expect(profile).toMatchObject({ defaultAction: 'SCMP_ACT_ERRNO', defaultErrnoRet: 1 })
  expect(profile.syscalls.find(({ names }) => names.includes('clone3'))).toMatchObject({
    action: 'SCMP_ACT_ERRNO',
    errnoRet: 38,
  })
  expect(new Set(ALLOWED_SYSCALLS).size).toBe(ALLOWED_SYSCALLS.length)
  for (const refused of [
    'mount',
    'unshare',
    'setns',
    'keyctl',
    'bpf',
    'io_uring_setup',
    'clone',
    'socket',
    'personality',
  ]) {
    expect(ALLOWED_SYSCALLS).not.toContain(refused)
  }
})

test('500 layers fit into the one page that mount options may take', () => {
  const names = Array.from({ length: 500 }, (_, index) => index.toString(36))
  const options = overlayOptions(names)
  expect(options.length).toBeLessThan(4096)
  expect(options).toMatch(/^lowerdir=dv:du:.*:1:0,upperdir=/)
})

test('an image without layers, or with a layer that is not there, is refused before anything is mounted', async () => {
  const folders = overlayFolders('/nonexistent')
  await expect(mountOverlay(folders, [], Progress.none())).rejects.toMatchObject({ reason: 'bad_layer_count' })
})

test('a range of ids that overlaps the users of the host is refused', () => {
  for (const uidBase of [1, 1000, 65_535, -65_536, 1.5, 2 ** 32]) {
    expect(() => createOciDriver({ home: '/nonexistent', uidBase })).toThrow(
      expect.objectContaining({ reason: 'bad_uid_base' }),
    )
  }
})
