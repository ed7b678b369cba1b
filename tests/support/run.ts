// Runs once before all tests and once after them: everything that a run makes is in one folder, and nothing of it stays.
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { leftIn, unnamed } from './leftovers.ts'

/**
 * Sets, for the tests and for every program that they start:
 * - `TMPDIR`, a folder of the run's own;
 * - `COPPICE_TEST_SHARED`, a folder in it for what is made once and used by many: the runtime bundle, compiled programs.
 *
 * The returned function fails the run when something is left. Of `./test.sh`, which has the machine to itself, that includes
 * what cannot be known as the run's by a path: cgroups, network namespaces, socket folders.
 */
export default function setup(): undefined | (() => void) {
  // Each project of one run calls this.
  if (process.env.COPPICE_TEST_SHARED) return
  const folder = mkdtempSync(join(tmpdir(), 'ct-'))
  // As /tmp is: a sandbox's root is another user outside.
  chmodSync(folder, 0o1777)
  const shared = join(folder, 'shared')
  mkdirSync(shared, { mode: 0o755 })
  const before = process.env.COPPICE_TEST_ALONE ? unnamed() : undefined
  process.env.TMPDIR = folder
  process.env.COPPICE_TEST_SHARED = shared
  return () => {
    rmSync(shared, { recursive: true, force: true })
    const left = leftIn(folder, before)
    if (left.length > 0) throw new Error(`The tests have left behind:\n  ${left.join('\n  ')}`)
    rmSync(folder, { recursive: true })
  }
}
