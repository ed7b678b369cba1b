import { readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Home } from '@coppice/protocol/home'
import { CoppiceError } from '@coppice/protocol/wire'
import { type Check, type CheckContext, finding } from '../check.ts'
import { isGone, registryFile, survey } from '../drift/survey.ts'
import { isAbsent, quoted } from '../faults.ts'
import { lastLine, run } from '../host/command.ts'
import { isWithin, mounts } from '../host/mounts.ts'

/** Where ip(8) keeps network namespaces by name. */
const NAMED = '/run/netns'

/**
 * Network namespaces that are held by a name or a mount although their sandbox is gone. A sandbox's own namespace has neither
 * and ends with its processes; names of this home are `coppice-<home>-<sandbox id>`.
 */
export const leakedNetworkNamespacesCheck: Check = {
  id: 'leaks/network-namespaces',
  async detect(ctx) {
    return (await seenTwice(ctx)).map(({ path }) =>
      finding(
        'warning',
        `The network namespace ${path} is held although its sandbox is gone.`,
        `umount --lazy ${quoted(path)}`,
        {
          path,
          fixable: true,
        },
      ),
    )
  },
  async repair(ctx) {
    for (const { path } of await seenTwice(ctx)) {
      await ctx.effects.run(`Give back the network namespace ${path}`, path, async () => {
        const held = (await mounts()).some(({ point }) => point === path)
        const ran = held
          ? await run('umount', ['--lazy', path], ctx.progress, { limitMs: 30_000 })
          : { exitCode: 0, text: '' }
        if (ran?.exitCode !== 0) {
          throw new CoppiceError('unavailable', 'unmount_failed', `${path} is held: ${lastLine(ran?.text ?? '')}`, {
            hint: `fuser -v ${quoted(path)}`,
          })
        }
        await unlink(path)
      })
    }
    return ctx.effects.outcome
  },
}

function seenTwice({ home, progress, sightings }: CheckContext): Promise<{ path: string }[]> {
  return sightings.twice('leaks/network-namespaces', () => leakedNamespaces(home), progress.signal)
}

async function leakedNamespaces(home: Home): Promise<{ path: string }[]> {
  const prefix = `coppice-${home.hash}-`
  const named = await readdir(NAMED).catch((error) => {
    if (isAbsent(error)) return []
    throw error
  })
  const held = (await mounts()).filter(
    ({ type, point }) => type === 'nsfs' && (isWithin(point, home.dir) || isWithin(point, home.run)),
  )
  const candidates = [
    ...named
      .filter((name) => name.startsWith(prefix))
      .map((name) => ({ path: join(NAMED, name), id: name.slice(prefix.length) })),
    ...held.map(({ point }) => ({ path: point, id: point.split('/').find((part) => part.startsWith('sb-')) ?? '' })),
  ]
  if (candidates.length === 0) return []
  const { registered, unreadable } = await survey(home)
  return candidates.filter(({ id }) => isGone(registered.get(id)) && (id === '' || !unreadable.has(registryFile(id))))
}
