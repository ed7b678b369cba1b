import { writeFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { isAlive, type ProcessIdentity } from '../host/process.ts'
import { detectCgroups } from '../oci/cgroups/detect.ts'
import { readText } from '../oci/cgroups/tree.ts'
import { cgroupOf } from './use.ts'

/**
 * Lets the container of an init go on that is held still, whatever its engine believes: one that is killed in the middle of a pause
 * does not know of it when it is back, and refuses to end it. Nothing where this is not for us to do (a rootless gateway).
 */
export function thawContainer(init: ProcessIdentity): void {
  const layout = detectCgroups()
  const path = cgroupOf(init.pid, layout.version === 1 ? 'freezer' : '')
  // The path may have been another process's.
  if (path === undefined || !isAlive(init)) return
  const [mount, file, frozen, thawed] =
    layout.version === 1
      ? [layout.controllers.get('freezer'), 'freezer.state', 'FR', 'THAWED']
      : [layout.mount, 'cgroup.freeze', '1', '0']
  for (const group of containerGroups(path)) {
    const setting = `${mount}${group}/${file}`
    if (!readText(setting)?.startsWith(frozen)) continue
    try {
      writeFileSync(setting, thawed)
    } catch {
      // Then the engine must.
    }
  }
}

/** The container's own groups, outermost first: an engine may put the init below the one that has the container's id in its name. */
function containerGroups(path: string): string[] {
  const groups = [path]
  for (let at = path; at !== '/' && at !== '.'; at = dirname(at)) {
    if (at !== path && /[0-9a-f]{64}/.test(basename(at))) groups.unshift(at)
  }
  return groups
}
