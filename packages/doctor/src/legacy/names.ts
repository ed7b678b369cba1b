import { createHash } from 'node:crypto'
import { join } from 'node:path'

/** Kinds of the legacy registry, which are kinds of the registry too. */
export const LEGACY_KINDS = ['containers', 'browsers'] as const
export type LegacyKind = (typeof LEGACY_KINDS)[number]

/** The file with all rows of a kind. */
export function monolithPath(home: string, kind: LegacyKind): string {
  return join(home, `${kind}.json`)
}

/** The folder with one file for each row of a kind. */
export function shardFolder(home: string, kind: LegacyKind): string {
  return join(home, kind)
}

/** The name of a row's file in that folder. */
export function fileName(containerName: string): string {
  return `${createHash('sha256').update(containerName).digest('hex')}.json`
}

/** True for a lock of the legacy registry. */
export function isLockName(name: string): boolean {
  return name.endsWith('.lock')
}
