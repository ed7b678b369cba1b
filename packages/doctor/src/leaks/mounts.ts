import { rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Home } from '@coppice/protocol/home'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { type Check, type CheckContext, finding } from '../check.ts'
import { registryFile, survey } from '../drift/survey.ts'
import { quoted } from '../faults.ts'
import { lastLine, run } from '../host/command.ts'
import { isWithin, mounts } from '../host/mounts.ts'

/** States in which a sandbox has no mounts. */
const AT_REST: ReadonlySet<string> = new Set(['stopped', 'failed', 'removed'])

/** A driver tries itself out within 15 s, milliseconds. */
const TRIAL_MS = 60_000

interface LeakedMount {
  path: string
  /** The folder of a driver's trial that was killed; it goes with its mounts. */
  trial: string | undefined
}

/** Mounts of sandboxes that do not run. */
export const leakedMountsCheck: Check = {
  id: 'leaks/mounts',
  async detect(ctx) {
    const leaked = await seenTwice(ctx)
    return leaked.map(({ path }) =>
      finding('warning', `${path} is still mounted, and its sandbox does not run.`, `umount --lazy ${quoted(path)}`, {
        path,
        fixable: true,
      }),
    )
  },
  async repair(ctx) {
    const { effects, progress } = ctx
    // Deepest first: what is mounted later lies on what was mounted before.
    for (const { path, trial } of (await seenTwice(ctx)).reverse()) {
      await effects.run(`Unmount ${path}`, path, async () => {
        await unmount(path, progress)
        if (trial !== undefined) await rm(trial, { recursive: true, force: true })
      })
    }
    return effects.outcome
  },
}

function seenTwice({ home, progress, sightings }: CheckContext): Promise<LeakedMount[]> {
  return sightings.twice('leaks/mounts', () => leakedMounts(home), progress.signal)
}

async function leakedMounts(home: Home): Promise<LeakedMount[]> {
  const points = (await mounts()).map(({ point }) => point).filter((point) => isWithin(dirname(point), home.drivers))
  if (points.length === 0) return []
  const { registered, resources, unreadable } = await survey(home)
  const leaked: LeakedMount[] = []
  for (const path of points) {
    const [driver = '', id = ''] = path.slice(home.drivers.length + 1).split('/')
    const folder = join(home.drivers, driver, id)
    if (id.startsWith('.probe-')) {
      if (Date.now() - (await stat(folder)).mtimeMs > TRIAL_MS) leaked.push({ path, trial: folder })
      continue
    }
    const resource = resources.find((one) => one.driver === driver && one.id === id)
    if ((resource && resource.pids.length > 0) || unreadable.has(registryFile(id))) continue
    const entry = registered.get(id)
    // A folder that nobody has registered is told by drift/orphaned-resources, and goes with its mounts.
    if (entry ? AT_REST.has(entry.state) : resource === undefined) leaked.push({ path, trial: undefined })
  }
  return leaked
}

async function unmount(path: string, progress: Progress): Promise<void> {
  const ran = await run('umount', ['--lazy', path], progress, { limitMs: 30_000 })
  if (ran?.exitCode === 0) return
  throw new CoppiceError(
    'unavailable',
    'unmount_failed',
    `${path} could not be unmounted: ${lastLine(ran?.text ?? '')}`,
    {
      hint: `fuser -vm ${quoted(path)}`,
    },
  )
}
