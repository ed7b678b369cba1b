import type { SandboxSpec } from '../driver.ts'
import type { OciMount } from './oci-types.ts'

export interface MountsInput {
  spec: SandboxSpec
  stateDir: string
  cgroupMounts: OciMount[]
}

/** Everything that is mounted over a sandbox's root. Device nodes are bound by runc itself: the usual set. */
export function sandboxMounts({ spec, stateDir, cgroupMounts }: MountsInput): OciMount[] {
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    tmpfs('/dev', ['nosuid', 'strictatime', 'mode=755', 'size=65536k']),
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    tmpfs('/dev/shm', ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k']),
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
    // JVMs and others size themselves by what they read here.
    {
      destination: '/sys/fs/cgroup',
      type: 'cgroup',
      source: 'cgroup',
      options: ['nosuid', 'noexec', 'nodev', 'relatime', 'ro'],
    },
    // Programs expect to write there whatever the root is.
    ...(spec.readOnlyRoot
      ? [tmpfs('/tmp', ['nosuid', 'nodev', 'mode=1777']), tmpfs('/run', ['nosuid', 'nodev', 'mode=755'])]
      : []),
    bind('/.coppice', spec.runtimeDir, ['ro', 'nosuid', 'nodev']),
    bind('/.coppice-run', spec.runDir, ['ro', 'nosuid', 'nodev', 'noexec']),
    bind('/.coppice-state', stateDir, ['rw', 'nosuid', 'nodev', 'noexec']),
    ...cgroupMounts,
  ]
}

function tmpfs(destination: string, options: string[]): OciMount {
  return { destination, type: 'tmpfs', source: 'tmpfs', options }
}

function bind(destination: string, source: string, options: string[]): OciMount {
  return { destination, type: 'bind', source, options: ['bind', 'private', ...options] }
}
