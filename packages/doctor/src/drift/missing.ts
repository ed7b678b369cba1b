import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { FileRegistry } from '@coppice/registry'
import { type Check, type CheckContext, finding } from '../check.ts'
import { HOST_DRIVERS, type Registered, survey } from './survey.ts'

/** States in which a driver must have something. `creating` and `removing` are intents, `failed` has its end record. */
const HAS_RESOURCE: ReadonlySet<string> = new Set(['starting', 'running', 'stopping', 'stopped'])

/** Registered sandboxes of which the driver has nothing. */
export const missingResourcesCheck: Check = {
  id: 'drift/missing-resources',
  async detect(ctx) {
    const { registered } = await survey(ctx.home)
    const fixable = (await ctx.gateway).kind === 'none'
    const findings = (await missing(ctx, registered.values())).map((entry) => {
      const message = `Sandbox ${entry.id} is registered as ${entry.state}, and the driver ${entry.driver} has nothing of it.`
      return finding('error', message, `coppice rm ${entry.id}`, { path: folderOf(ctx, entry), fixable })
    })
    for (const { id, driver, state } of registered.values()) {
      if (HOST_DRIVERS.has(driver) || !HAS_RESOURCE.has(state)) continue
      const message = `Whether the driver ${driver} has sandbox ${id} cannot be told from here.`
      findings.push(finding('unverified', message, `coppice inspect ${id}`))
    }
    return findings
  },
  async repair(ctx) {
    const { effects, exclusive, home } = ctx
    if (!exclusive && !effects.dry) return effects.outcome
    const { registered } = await survey(home)
    for (const { id, driver } of await missing(ctx, registered.values())) {
      await effects.run(`Record that sandbox ${id} has vanished`, home.registry, () =>
        recordEnd(home.registry, id, driver),
      )
    }
    return effects.outcome
  },
}

async function missing(ctx: CheckContext, entries: Iterable<Registered>): Promise<Registered[]> {
  const found: Registered[] = []
  for (const entry of entries) {
    if (!HOST_DRIVERS.has(entry.driver) || !HAS_RESOURCE.has(entry.state)) continue
    const there = await lstat(folderOf(ctx, entry)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    })
    if (!there) found.push(entry)
  }
  return found
}

function folderOf({ home }: CheckContext, { driver, id }: Registered): string {
  return join(home.drivers, driver, id)
}

/** What a gateway records when it starts and finds the same. */
async function recordEnd(registry: string, id: string, driver: string): Promise<void> {
  const store = (await FileRegistry.open(registry)).kind<Record<string, unknown>>('sandboxes')
  await store.update(id, (value) => {
    if (!HAS_RESOURCE.has(String(value.state))) return undefined
    const message = `The driver ${driver} does not know it any more; its files are gone.`
    const end = { reason: 'vanished', message, at: Date.now(), exitCode: null, lastOutput: '', use: null }
    return { ...value, state: 'failed', end }
  })
}
