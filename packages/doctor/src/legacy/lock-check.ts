import { dirname } from 'node:path'
import { type Check, type Finding, finding } from '../check.ts'
import { quoted } from '../faults.ts'
import { findLocks, type LegacyLock, removeLock } from './locks.ts'

/** Locks of the legacy registry. Only one whose owner is proven to be gone is ever removed. */
export const legacyLocksCheck: Check = {
  id: 'legacy/lock-files',
  async detect({ home }) {
    return (await findLocks(home.dir)).map(describe)
  },
  async repair({ home, effects }) {
    for (const { path, owner } of await findLocks(home.dir)) {
      if (owner.state !== 'gone') continue
      const sentence = `Remove ${path}, whose owner (process ${owner.pid}) is gone`
      await effects.run(sentence, path, () => removeLock(dirname(path), path))
    }
    return effects.outcome
  },
}

function describe({ path, owner }: LegacyLock): Finding {
  switch (owner.state) {
    case 'gone':
      return finding('warning', `${path} is a lock whose owner (process ${owner.pid}) is gone.`, `rm ${quoted(path)}`, {
        path,
        fixable: true,
      })
    case 'alive':
      return finding('warning', `${path} is a lock that process ${owner.pid} holds.`, `ps -fp ${owner.pid}`, { path })
    case 'unknown':
      return finding('warning', `${path} is a lock whose owner cannot be told: ${owner.why}.`, `cat ${quoted(path)}`, {
        path,
      })
  }
}
