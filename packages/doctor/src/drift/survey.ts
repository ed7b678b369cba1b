import { createHash } from 'node:crypto'
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Home } from '@coppice/protocol/home'
import { Progress } from '@coppice/protocol/wire'
import { type InspectedKind, inspectRegistry } from '@coppice/registry'
import { isAbsent } from '../faults.ts'
import { sandboxGroups } from '../host/cgroups.ts'
import { run } from '../host/command.ts'

/** Drivers that keep a folder `drivers/<name>/<id>` in the home for each of their sandboxes. */
export const HOST_DRIVERS: ReadonlySet<string> = new Set(['oci', 'process', 'docker', 'podman'])

/** Of these, the ones that have something outside of the home: a container of that engine. */
const ENGINES = ['docker', 'podman'] as const

/** Milliseconds for an engine to say which containers it has. One that does not answer is told by its own check. */
const ENGINE_MS = 5_000

const ID = /^[a-z0-9][a-z0-9-]{0,62}$/

/** Something that a driver made. */
export interface Resource {
  driver: string
  id: string
  /** Its folder, or what is all there is of it: a cgroup, a container (`docker:NAME`, which is no path). */
  path: string
  /** Processes in its cgroups. */
  pids: number[]
}

/** A registered sandbox, as far as it matters here. */
export interface Registered {
  id: string
  driver: string
  state: string
}

/** What is there and what is registered. */
export interface Survey {
  resources: Resource[]
  /** By id. Removed ones too. */
  registered: Map<string, Registered>
  /** Files of registry entries that are there and could not be read: whose they are can only be told by hashing an id. */
  unreadable: Set<string>
}

/**
 * Throws when the registry cannot be read: then nothing may be called an orphan or a leak.
 *
 * Looks at both sides without changing either: a driver object's own `list` finishes what was cut off. Resources are read first: an
 * entry is written before its resource is made, so a resource that is seen has its entry by then.
 */
export async function survey(home: Home): Promise<Survey> {
  const resources = await findResources(home)
  const kinds = await inspectRegistry(home.registry)
  const sandboxes = kinds.find(({ kind }) => kind === 'sandboxes')
  if (sandboxes?.error) throw sandboxes.error
  return {
    resources: await stillThere(resources),
    registered: registeredIn(sandboxes),
    unreadable: new Set(sandboxes?.skipped.map(({ file }) => file)),
  }
}

/** The name of an id's registry file. */
export function registryFile(id: string): string {
  return `${createHash('sha256').update(id).digest('hex')}.json`
}

/** True for states in which there is nothing to be found of a sandbox. */
export function isGone(entry: Registered | undefined): boolean {
  return entry === undefined || entry.state === 'removed'
}

async function findResources(home: Home): Promise<Resource[]> {
  const groups = await sandboxGroups(home.hash)
  const found: Resource[] = []
  for (const driver of await names(home.drivers)) {
    for (const id of (await names(join(home.drivers, driver))).filter((name) => ID.test(name))) {
      const pids = driver === 'oci' ? (groups.get(id)?.pids ?? []) : []
      found.push({ driver, id, path: join(home.drivers, driver, id), pids })
    }
  }
  const known = new Set(found.filter(({ driver }) => driver === 'oci').map(({ id }) => id))
  for (const [id, { paths, pids }] of groups) {
    if (!known.has(id) && ID.test(id) && pids.length > 0) found.push({ driver: 'oci', id, path: paths[0] ?? '', pids })
  }
  for (const engine of ENGINES) {
    const folders = new Set(found.filter(({ driver }) => driver === engine).map(({ id }) => id))
    for (const id of await containersOf(engine, home.hash)) {
      const path = `${engine}:coppice-${home.hash}-${id}`
      if (!folders.has(id)) found.push({ driver: engine, id, path, pids: [] })
    }
  }
  return found
}

/** Sandboxes of a home that an engine has containers of: they are named `coppice-<home>-<id>` and labelled with the id. */
async function containersOf(engine: (typeof ENGINES)[number], homeHash: string): Promise<string[]> {
  const prefix = `coppice-${homeHash}-`
  const args = ['ps', '--all', '--filter', 'label=coppice.sandbox', '--format', '{{.Names}}']
  const ran = await run(engine, args, Progress.none(), { limitMs: ENGINE_MS })
  if (ran?.exitCode !== 0) return []
  const ids = ran.text.split('\n').filter((name) => name.startsWith(prefix))
  return ids.map((name) => name.slice(prefix.length).trim()).filter((id) => ID.test(id))
}

/** True for something that is in an engine alone. */
export function isContainer({ path }: Resource): boolean {
  return !path.startsWith('/')
}

async function stillThere(resources: Resource[]): Promise<Resource[]> {
  const looked = resources.map(async (resource) =>
    isContainer(resource)
      ? [resource]
      : lstat(resource.path).then(
          () => [resource],
          (error) => {
            if (isAbsent(error)) return []
            throw error
          },
        ),
  )
  return (await Promise.all(looked)).flat()
}

function registeredIn(sandboxes: InspectedKind | undefined): Map<string, Registered> {
  const entries = sandboxes?.entries ?? []
  return new Map(
    entries.map(({ id, value }) => {
      const { driver, state } = value as { driver?: unknown; state?: unknown }
      return [id, { id, driver: String(driver ?? ''), state: String(state ?? '') }]
    }),
  )
}

async function names(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true })
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
  } catch (error) {
    if (isAbsent(error)) return []
    throw error
  }
}
