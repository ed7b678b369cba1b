import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Groups of homes, network namespaces and socket folders that are there now, as paths: things of Coppice and of its tests whose
 * names do not say which run has made them.
 */
export function unnamed(): Set<string> {
  const groups = ['', ...names('/sys/fs/cgroup')].flatMap((hierarchy) => {
    const root = join('/sys/fs/cgroup', hierarchy)
    const homes = within(join(root, 'coppice')).filter((path) => /\/[0-9a-f]{8}$/.test(path))
    return [...homes, ...within(root).filter((path) => path.startsWith(join(root, 'coppice-')))]
  })
  const namespaces = within('/run/netns').filter((path) => path.includes('/coppice-'))
  return new Set([...groups, ...namespaces, ...within('/run/coppice')])
}

/**
 * One line for each thing that a run has left: files, mounts and processes of its folder.
 * @param before what `unnamed` gave at its start, when all that is new there can only be this run's
 */
export function leftIn(folder: string, before?: Set<string>): string[] {
  const files = within(folder)
  const mounts = read('/proc/self/mountinfo')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
  const made = before ? [...unnamed()].filter((path) => !before.has(path)) : []
  return [
    ...files.map((path) => `file ${path}`),
    ...mounts.filter((point) => point.startsWith(`${folder}/`)).map((point) => `mount ${point}`),
    ...processesOf(folder),
    ...made,
  ]
}

/**
 * Processes that were told of the folder when they started, have something of it open, or have their root there, as a sandbox's
 * have. Those of the test runner itself are no find.
 */
function processesOf(folder: string): string[] {
  return names('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return []
    const told = ['cmdline', 'environ'].map((file) => read(`/proc/${pid}/${file}`))
    // Of its mounts the root alone: one that was left on the host is in the list of everybody.
    const roots = read(`/proc/${pid}/mountinfo`)
      .split('\n')
      .filter((line) => line.split(' ')[4] === '/')
    const open = [`/proc/${pid}/cwd`, ...within(`/proc/${pid}/fd`)].map(link)
    const lives = [...told, ...roots, ...open].some((text) => text.includes(`${folder}/`))
    const line = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim()
    return lives && !/\b(vitest|esbuild)\b/.test(line) ? [`process ${pid}: ${line}`] : []
  })
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

const within = (folder: string): string[] => names(folder).map((name) => join(folder, name))

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    // It ended while it was looked at.
    return ''
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}
