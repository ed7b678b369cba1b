import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'

/** A small file system of its own, to fill up. Undefined where none can be mounted. */
export function mountSmall(dir: string, bytes: number): { unmount: () => void } | undefined {
  mkdirSync(dir, { recursive: true })
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', dir])
  return status === 0 ? { unmount: () => void spawnSync('umount', ['-l', dir]) } : undefined
}
