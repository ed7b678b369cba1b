import { chmodSync, chownSync, copyFileSync, lchownSync, lutimesSync, mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'

/** Programs that tests call by their names. */
const LINKS = [
  'sh',
  'ls',
  'cat',
  'echo',
  'sleep',
  'ps',
  'mount',
  'unshare',
  'id',
  'seq',
  'tail',
  'timeout',
  'kill',
  'ip',
  'grep',
  'chmod',
  'touch',
  'mkdir',
]

/** Makes a layer that holds a static busybox and nothing else, owned by `owner`. */
export function makeBusyboxLayer(path: string, owner: number): string {
  mkdirSync(join(path, 'bin'), { recursive: true })
  copyFileSync('/bin/busybox', join(path, 'bin/busybox'))
  for (const file of [path, join(path, 'bin'), join(path, 'bin/busybox')]) {
    chmodSync(file, 0o755)
    chownSync(file, owner, owner)
  }
  for (const name of LINKS) {
    symlinkSync('busybox', join(path, 'bin', name))
    lchownSync(join(path, 'bin', name), owner, owner)
  }
  // The same whenever it is made.
  for (const name of ['', 'bin', 'bin/busybox', ...LINKS.map((link) => `bin/${link}`)])
    lutimesSync(join(path, name), 0, 0)
  return path
}
