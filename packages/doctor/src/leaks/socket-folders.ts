import { lstat, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Home } from '@coppice/protocol/home'
import { type Check, type CheckContext, finding } from '../check.ts'
import { isGone, registryFile, survey } from '../drift/survey.ts'
import { isAbsent, quoted } from '../faults.ts'

/** Socket folders of sandboxes that are not there any more. */
export const leakedSocketFoldersCheck: Check = {
  id: 'leaks/socket-folders',
  async detect(ctx) {
    return (await seenTwice(ctx)).map(({ path }) =>
      finding('warning', `The socket folder ${path} belongs to no sandbox.`, `rm -r ${quoted(path)}`, {
        path,
        fixable: true,
      }),
    )
  },
  async repair(ctx) {
    for (const { path } of await seenTwice(ctx)) {
      await ctx.effects.run(`Remove the socket folder ${path}`, path, () => rm(path, { recursive: true, force: true }))
    }
    return ctx.effects.outcome
  },
}

function seenTwice({ home, progress, sightings }: CheckContext): Promise<{ path: string }[]> {
  return sightings.twice('leaks/socket-folders', () => leakedFolders(home), progress.signal)
}

async function leakedFolders(home: Home): Promise<{ path: string }[]> {
  const names = await readdir(home.run).catch((error) => {
    if (isAbsent(error)) return []
    throw error
  })
  if (names.length === 0) return []
  const { registered, resources, unreadable } = await survey(home)
  const held = new Set(resources.map(({ id }) => id))
  const leaked: { path: string }[] = []
  for (const name of names) {
    const path = join(home.run, name)
    if (held.has(name) || unreadable.has(registryFile(name)) || !isGone(registered.get(name))) continue
    if ((await lstat(path).catch(() => undefined))?.isDirectory()) leaked.push({ path })
  }
  return leaked
}
