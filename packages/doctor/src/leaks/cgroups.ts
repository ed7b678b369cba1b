import type { Home } from '@coppice/protocol/home'
import { type Check, type CheckContext, finding } from '../check.ts'
import { registryFile, survey } from '../drift/survey.ts'
import { quoted } from '../faults.ts'
import { removeGroup, sandboxGroups } from '../host/cgroups.ts'

/** Cgroups in which nothing runs and that belong to no sandbox that could. */
export const leakedCgroupsCheck: Check = {
  id: 'leaks/cgroups',
  async detect(ctx) {
    const leaked = await seenTwice(ctx)
    return leaked.map(({ path }) =>
      finding(
        'warning',
        `The cgroup ${path} is empty and belongs to no running sandbox.`,
        `find ${quoted(path)} -depth -type d -delete`,
        {
          path,
          fixable: true,
        },
      ),
    )
  },
  async repair(ctx) {
    for (const { path } of await seenTwice(ctx)) {
      await ctx.effects.run(`Remove the cgroup ${path}`, path, () => removeGroup(path))
    }
    return ctx.effects.outcome
  },
}

function seenTwice({ home, progress, sightings }: CheckContext): Promise<{ path: string }[]> {
  return sightings.twice('leaks/cgroups', () => leakedGroups(home), progress.signal)
}

async function leakedGroups(home: Home): Promise<{ path: string }[]> {
  const groups = await sandboxGroups(home.hash)
  if (groups.size === 0) return []
  const { registered, unreadable } = await survey(home)
  return [...groups].flatMap(([id, { paths, pids }]) => {
    const state = registered.get(id)?.state ?? 'removed'
    const leaked =
      pids.length === 0 && !unreadable.has(registryFile(id)) && ['stopped', 'failed', 'removed'].includes(state)
    return leaked ? paths.map((path) => ({ path })) : []
  })
}
