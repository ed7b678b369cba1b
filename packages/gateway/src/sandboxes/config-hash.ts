import { createHash } from 'node:crypto'
import type { SandboxRecord } from './record.ts'

/** What the hash covers. Values of the environment are not in it: they may be secrets, and change without the sandbox being another. */
type Asked = Pick<SandboxRecord, 'imageDigest' | 'driver' | 'limits' | 'env' | 'network' | 'readOnlyRoot'>

/** 64 hex characters that stand for what was asked of a sandbox. The order of keys and of rules makes no difference. */
export function configHash(asked: Asked): string {
  const { imageDigest, driver, limits, env, network, readOnlyRoot } = asked
  const covered = {
    imageDigest,
    driver,
    limits,
    env: Object.keys(env).sort(),
    network: { mode: network.mode, allow: [...new Set(network.allow)].sort() },
    readOnlyRoot,
  }
  return createHash('sha256').update(canonical(covered)).digest('hex')
}

/** JSON with the keys of every object in order. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}
