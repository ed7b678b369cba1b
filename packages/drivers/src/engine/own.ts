import { readFileSync, writeFileSync } from 'node:fs'
import type { ContainerInspection, Engine } from '@coppice/engines'
import type { Progress } from '@coppice/protocol/wire'
import type { SandboxFolder } from '../lifecycle/folder.ts'
import { type Names, SANDBOX_LABEL } from './names.ts'
import { sandboxPaths } from './paths.ts'

/** Writes down that the engine is about to be asked for a sandbox's container: from now on it may have one. */
export function noteAsked(folder: SandboxFolder): void {
  writeFileSync(sandboxPaths(folder).asked, '')
}

/** Writes down which container the engine has made. */
export function noteContainer(folder: SandboxFolder, containerId: string): void {
  writeFileSync(sandboxPaths(folder).asked, containerId)
}

/** The id of a sandbox's container. Undefined when it was never told: its creation was cut off, or is under way. */
export function notedContainer(folder: SandboxFolder): string | undefined {
  try {
    return /^[0-9a-f]{64}$/.exec(readFileSync(sandboxPaths(folder).asked, 'utf8').trim())?.[0]
  } catch {
    return undefined
  }
}

/**
 * The container of a sandbox, when there is one and it is ours. Use its id for whatever is done with it, which nobody can give to
 * another one: anybody can rename it, and have one of his own under its name.
 */
export async function ownContainer(
  engine: Engine,
  names: Names,
  folder: SandboxFolder,
  progress: Progress,
): Promise<ContainerInspection | undefined> {
  const noted = notedContainer(folder)
  const found = await engine.containers.inspect(noted ?? names.container(folder.id), progress)
  if (!found) return undefined
  const ours =
    noted === undefined
      ? names.owner(found) === folder.id
      : found.Id === noted && found.Config.Labels?.[SANDBOX_LABEL] === folder.id
  return ours ? found : undefined
}
