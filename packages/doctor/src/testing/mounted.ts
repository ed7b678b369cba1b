import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'

/** A tmpfs for a test, unmounted when the test's scope ends. */
export function mountTmpfs(path: string, options: string): Disposable {
  mkdirSync(path, { recursive: true })
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path])
  return { [Symbol.dispose]: () => void execFileSync('umount', ['--lazy', path]) }
}
