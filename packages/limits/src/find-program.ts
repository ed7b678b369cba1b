import type { SpawnOptions } from 'node:child_process'
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { join } from 'node:path'

/** Where Node's `spawn` looks when there is no PATH. */
const DEFAULT_PATH = '/usr/local/bin:/bin:/usr/bin'

/** The file that `spawn` would run. Undefined when it is not there, or may not be run. */
export async function findProgram(program: string, options: SpawnOptions): Promise<string | undefined> {
  if (program.includes('/')) return program
  const path = (options.env ?? process.env).PATH ?? DEFAULT_PATH
  for (const folder of path.split(':')) {
    const candidate = join(folder === '' ? '.' : folder, program)
    if (await isExecutable(candidate)) return candidate
  }
  return undefined
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
