import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Copies a program of this host and the libraries that it needs into a layer, owned by `owner`. Returns its path in there. */
export function addHostProgram(layer: string, program: string, target: string, owner: number, mode = 0o755): string {
  const listed = execFileSync('ldd', [program], { encoding: 'utf8' })
  const libraries = [...listed.matchAll(/(?:=> )?(\/\S+) \(/g)].map(([, path]) => path as string)
  for (const library of libraries) addFile(layer, library, library, owner, 0o755)
  addFile(layer, program, target, owner, mode)
  return target
}

function addFile(layer: string, source: string, target: string, owner: number, mode: number): void {
  const path = join(layer, target)
  if (existsSync(path)) return
  makeFolder(layer, dirname(target), owner)
  copyFileSync(realpathSync(source), path)
  chownSync(path, owner, owner)
  chmodSync(path, mode)
}

function makeFolder(layer: string, folder: string, owner: number): void {
  if (folder === '/' || existsSync(join(layer, folder))) return
  makeFolder(layer, dirname(folder), owner)
  mkdirSync(join(layer, folder), { mode: 0o755 })
  chownSync(join(layer, folder), owner, owner)
}
