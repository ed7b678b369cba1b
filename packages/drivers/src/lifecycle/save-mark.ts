import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ProcessIdentity } from '../host/process.ts'
import { isSandboxId, SandboxFolder } from './folder.ts'

/**
 * That files of a sandbox are being saved, written into its folder: whoever comes after a crash knows what may be left: the sandbox
 * held still, and what `what` says.
 */
export interface SaveMark<What extends object = object> {
  by: ProcessIdentity
  what: What
}

export function readSaveMark<What extends object>(folder: SandboxFolder): SaveMark<What> | undefined {
  try {
    return JSON.parse(readFileSync(file(folder), 'utf8')) as SaveMark<What>
  } catch {
    return undefined
  }
}

/** Not into a folder that is gone: the sandbox was removed. */
export function writeSaveMark(folder: SandboxFolder, mark: SaveMark): void {
  try {
    writeFileSync(file(folder), JSON.stringify(mark), { mode: 0o600 })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause
  }
}

export function removeSaveMark(folder: SandboxFolder): void {
  rmSync(file(folder), { force: true })
}

/** The sandboxes of a driver that have a mark. */
export function markedFolders(root: string): SandboxFolder[] {
  return readdirSync(root)
    .filter(isSandboxId)
    .map((id) => new SandboxFolder(root, id))
    .filter((folder) => readSaveMark(folder) !== undefined)
}

function file(folder: SandboxFolder): string {
  return join(folder.path, 'saving.json')
}
