import { join } from 'node:path'
import { FileRegistry, inspectRegistry } from '@coppice/registry'
import { type Check, finding } from '../check.ts'
import { quoted } from '../faults.ts'

/** Unfinished versions that killed writers left behind. A gateway sweeps them when it starts and every hour. */
export const registryLeftoversCheck: Check = {
  id: 'registry/leftovers',
  limitMs: 60_000,
  async detect({ home, gateway }) {
    const kinds = await inspectRegistry(home.registry)
    const state = await gateway
    // While a gateway runs it is the only one that may sweep.
    const fixable = state.kind === 'none' || ('local' in state && !state.local)
    return kinds.flatMap(({ path: folder, leftovers }) =>
      leftovers.map((name) => {
        const path = join(folder, name)
        const hint = fixable ? `rm ${quoted(path)}` : 'coppice gateway stop && coppice gateway start'
        return finding('warning', `${path} was left behind by a writer that was killed.`, hint, { path, fixable })
      }),
    )
  },
  async repair({ home, effects, exclusive }) {
    if (!exclusive && !effects.dry) return effects.outcome
    const sentence = `Sweep what killed writers left behind in ${home.registry}`
    await effects.run(sentence, home.registry, async () => {
      await (await FileRegistry.open(home.registry)).sweep()
    })
    return effects.outcome
  },
}
