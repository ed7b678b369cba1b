import { existsSync, readFileSync } from 'node:fs'
import { CoppiceError } from '@coppice/protocol/wire'
import type { CgroupLayout } from './cgroups.ts'

/** Controllers without which limits, delegated kills or use cannot be had on version 1. */
const REQUIRED_V1 = ['memory', 'pids', 'cpu', 'cpuacct', 'freezer']

/**
 * Finds the cgroup layout by its mounts. A hybrid layout (v1 controllers and an empty v2 tree) counts as version 1. Throws
 * `unavailable/no_cgroups`.
 */
export function detectCgroups(): CgroupLayout {
  const layout = layoutOf(readFileSync('/proc/self/mountinfo', 'utf8'))
  if (layout?.version === 2 && existsSync(`${layout.mount}/cgroup.controllers`)) return layout
  if (layout?.version === 1) return layout
  throw new CoppiceError('unavailable', 'no_cgroups', 'No usable cgroup file system is mounted on this host.', {
    retryable: false,
    facts: { needed: REQUIRED_V1 },
    hint: 'mount -t cgroup2 none /sys/fs/cgroup',
  })
}

/** The layout that a `/proc/self/mountinfo` shows, or undefined. */
export function layoutOf(mountinfo: string): CgroupLayout | undefined {
  const controllers = new Map<string, string>()
  let unified: string | undefined
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ')
    const mount = before.split(' ')[4] ?? ''
    const [type, , options = ''] = after.split(' ')
    if (type === 'cgroup2') unified ??= mount
    if (type !== 'cgroup') continue
    // The super block's options name the controllers of a hierarchy; a named one (systemd's) has `name=`.
    for (const option of options.split(',')) {
      const name = option.startsWith('name=') ? option : KNOWN.has(option) ? option : undefined
      if (name && !controllers.has(name)) controllers.set(name, mount)
    }
  }
  // runc makes a group in the empty tree of a hybrid layout too: it is ours to remove.
  if (unified !== undefined) controllers.set(UNIFIED, unified)
  if (REQUIRED_V1.every((name) => controllers.has(name))) return { version: 1, controllers }
  return unified === undefined ? undefined : { version: 2, mount: unified }
}

/** Stands for the version 2 tree of a hybrid layout. */
const UNIFIED = 'unified'

const KNOWN = new Set([
  ...REQUIRED_V1,
  'cpuset',
  'devices',
  'blkio',
  'net_cls',
  'net_prio',
  'perf_event',
  'hugetlb',
  'rdma',
  'misc',
])
