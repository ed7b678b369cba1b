import { readFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import type { ResourceUse } from '@coppice/protocol/wire'
import { isAlive, type ProcessIdentity } from '../host/process.ts'
import { detectCgroups } from '../oci/cgroups/detect.ts'
import { CgroupsV1 } from '../oci/cgroups/v1.ts'
import { CgroupsV2 } from '../oci/cgroups/v2.ts'

export const UNKNOWN_USE: Omit<ResourceUse, 'at'> = {
  memoryBytes: null,
  memoryPeakBytes: null,
  memoryLimitBytes: null,
  cpuSeconds: null,
  pids: null,
  pidsLimit: null,
  cpusLimit: null,
  oomKills: null,
}

/**
 * What a container uses, read from its init's cgroups: exact, and some 0.2 ms, where an engine's own statistics take a second.
 * Undefined when the init is gone, or is in no cgroup that is visible here.
 */
export function useOf(init: ProcessIdentity): ResourceUse | undefined {
  const layout = detectCgroups()
  const path = cgroupOf(init.pid, layout.version === 1 ? 'memory' : '')
  if (path === undefined) return undefined
  const [parent, name] = [dirname(path), basename(path)]
  const groups = layout.version === 1 ? new CgroupsV1(layout.controllers, parent) : new CgroupsV2(layout.mount, parent)
  const use = groups.use(name)
  // The path may have been another process's.
  return isAlive(init) && use.memoryBytes !== null ? use : undefined
}

/** Path of a process's cgroup in the hierarchy of a controller, as the host sees it. Undefined for the root. */
export function cgroupOf(pid: number, controller: string): string | undefined {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/cgroup`, 'utf8')
  } catch {
    return undefined
  }
  for (const line of text.split('\n')) {
    const [, controllers = '', ...path] = line.split(':')
    if (controllers.split(',').includes(controller) && path.join(':') !== '/') return path.join(':')
  }
  return undefined
}
