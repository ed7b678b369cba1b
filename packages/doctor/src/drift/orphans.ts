import { lstat, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Driver } from '@coppice/drivers'
import type { Home } from '@coppice/protocol/home'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { type Check, finding } from '../check.ts'
import { quoted } from '../faults.ts'
import { lastLine, run } from '../host/command.ts'
import { Quarantine } from '../quarantine.ts'
import { HOST_DRIVERS, isContainer, isGone, type Resource, registryFile, type Survey, survey } from './survey.ts'

/** Sandboxes that a driver has and nobody has registered. */
export const orphanedResourcesCheck: Check = {
  id: 'drift/orphaned-resources',
  async detect({ home }) {
    const found = await survey(home)
    const findings = []
    for (const resource of orphans(found)) {
      const { driver, id, path, pids } = resource
      const doubt = await doubtAbout(home, found, resource)
      if (doubt) {
        findings.push(finding('error', doubt.message, doubt.hint, { path }))
        continue
      }
      const look = isContainer(resource)
        ? `${driver} inspect ${path.slice(driver.length + 1)}`
        : `ls -la ${quoted(path)}`
      const runs = isContainer(resource)
        ? 'Only its container is left.'
        : pids.length === 0
          ? 'Nothing runs in it.'
          : `${pids.length} processes run in it.`
      const message = `The driver ${driver} has a sandbox ${id} that is not registered. ${runs}`
      findings.push(finding('error', message, look, { path, fixable: HOST_DRIVERS.has(driver) }))
    }
    return findings
  },
  async repair(ctx) {
    const { home, effects } = ctx
    const found = await survey(home)
    for (const resource of orphans(found)) {
      if (!HOST_DRIVERS.has(resource.driver) || (await doubtAbout(home, found, resource))) continue
      const destroys = await holdsSomething(found, resource)
      const sentence = `Remove sandbox ${resource.id} of the driver ${resource.driver} with all of its files and processes`
      await effects.run(sentence, resource.path, () => remove(home, resource, ctx.progress), { destroys })
    }
    return effects.outcome
  },
}

function orphans({ resources, registered }: Survey): Resource[] {
  return resources.filter(({ id }) => isGone(registered.get(id)))
}

/** A sandbox whose entry is damaged is no orphan: nobody knows whether somebody wants it. */
async function doubtAbout(
  home: Home,
  found: Survey,
  resource: Resource,
): Promise<{ message: string; hint: string } | undefined> {
  const { id, driver } = resource
  const file = registryFile(id)
  if (found.unreadable.has(file)) {
    const path = join(home.registry, 'sandboxes', file)
    return {
      message: `The driver ${driver} has a sandbox ${id} whose registry entry cannot be read: it is left alone.`,
      hint: `ls -l ${quoted(path)}`,
    }
  }
  if (await new Quarantine(home.quarantine).has('sandboxes', file)) {
    return {
      message:
        `The driver ${driver} has a sandbox ${id} whose damaged registry entry is in quarantine: it is left alone ` +
        'as long as that file is there.',
      hint: `ls -l ${quoted(join(home.quarantine, 'sandboxes'))}/${file}*`,
    }
  }
  return undefined
}

/** A removal that was asked for and cut off, or a creation that never came to anything, holds nothing that anybody misses. */
async function holdsSomething({ registered }: Survey, resource: Resource): Promise<boolean> {
  const { id, path, pids } = resource
  if (registered.get(id)?.state === 'removed') return false
  if (pids.length > 0 || isContainer(resource)) return true
  const record = await readFile(join(path, 'record.json'), 'utf8').catch(() => undefined)
  if (record !== undefined) return true
  return (await lstat(join(path, 'upper')).catch(() => undefined)) !== undefined
}

async function remove(home: Home, resource: Resource, progress: Progress): Promise<void> {
  const { driver, id, path } = resource
  if (isContainer(resource)) return removeContainer(driver, path.slice(driver.length + 1), progress)
  const drivers = await import('@coppice/drivers')
  const makers: Record<string, () => Driver> = {
    oci: () => drivers.createOciDriver({ home: home.dir }),
    process: () => drivers.createProcessDriver({ home: home.dir }),
    docker: () => drivers.createEngineDriver({ home: home.dir, engine: 'docker' }),
    podman: () => drivers.createEngineDriver({ home: home.dir, engine: 'podman' }),
  }
  const made = makers[driver]?.()
  if (!made) throw new CoppiceError('unsupported', 'unknown_driver', `This version has no driver ${driver}.`)
  try {
    await made.remove(id, progress)
  } finally {
    await made.close()
  }
}

/** What is left is the engine's alone: its own program removes it. */
async function removeContainer(engine: string, name: string, progress: Progress): Promise<void> {
  const ran = await run(engine, ['rm', '--force', '--volumes', name], progress, { limitMs: 60_000 })
  if (ran?.exitCode === 0) return
  throw new CoppiceError(
    'unavailable',
    'container_not_removed',
    `${name} could not be removed: ${lastLine(ran?.text ?? '')}`,
    {
      hint: `${engine} rm --force ${name}`,
    },
  )
}
