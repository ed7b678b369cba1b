import { readdir, readFile, rmdir } from 'node:fs/promises'
import { isAbsent } from '../faults.ts'
import { mounts } from './mounts.ts'

/** The cgroups of one sandbox, in every hierarchy. */
export interface SandboxGroups {
  paths: string[]
  /** Processes in them and below them. */
  pids: number[]
}

/** One mounted tree of cgroups. */
export interface Hierarchy {
  point: string
  version: 1 | 2
  options: string[]
}

/** Where cgroups are mounted, and how. */
export async function hierarchies(): Promise<Hierarchy[]> {
  return (await mounts())
    .filter(({ type }) => type === 'cgroup' || type === 'cgroup2')
    .map(({ point, type, options }) => ({ point, version: type === 'cgroup' ? 1 : 2, options }))
}

/** The groups of a home's sandboxes (`/coppice/<home>/<sandbox id>`), by id. */
export async function sandboxGroups(homeHash: string): Promise<Map<string, SandboxGroups>> {
  const found = new Map<string, SandboxGroups>()
  for (const point of new Set((await hierarchies()).map(({ point }) => point))) {
    const folder = `${point}/coppice/${homeHash}`
    for (const id of await children(folder)) {
      const groups = found.get(id) ?? { paths: [], pids: [] }
      groups.paths.push(`${folder}/${id}`)
      groups.pids.push(...(await pidsUnder(`${folder}/${id}`)))
      found.set(id, groups)
    }
  }
  for (const groups of found.values()) groups.pids = [...new Set(groups.pids)]
  return found
}

/** Removes every group of a home that is not used any more: runc makes some in hierarchies that its callers do not know of. */
export async function removeHomeGroups(homeHash: string): Promise<void> {
  for (const point of new Set((await hierarchies()).map(({ point }) => point))) {
    await removeGroup(`${point}/coppice/${homeHash}`)
  }
}

/** Removes a group and the ones below it. Throws EBUSY when a process is in one of them. */
export async function removeGroup(path: string): Promise<void> {
  for (const name of await children(path)) await removeGroup(`${path}/${name}`)
  await rmdir(path).catch((error) => {
    if (!isAbsent(error)) throw error
  })
}

async function pidsUnder(path: string): Promise<number[]> {
  const own = await readFile(`${path}/cgroup.procs`, 'latin1').catch(() => '')
  const below = await Promise.all((await children(path)).map((name) => pidsUnder(`${path}/${name}`)))
  return [...own.split('\n').filter(Boolean).map(Number), ...below.flat()]
}

async function children(path: string): Promise<string[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true })
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
  } catch (error) {
    if (isAbsent(error)) return []
    throw error
  }
}
