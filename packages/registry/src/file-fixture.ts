import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { StoreFixture } from './contract.ts'
import { FileRegistry } from './file-registry.ts'

/** Called by the writers that the contract suite starts. */
export function openRegistry(place: string): Promise<FileRegistry> {
  return FileRegistry.open(place)
}

/** A file registry in a folder of its own. */
export async function fileFixture(): Promise<StoreFixture> {
  const place = await mkdtemp(join(tmpdir(), 'coppice-registry-'))
  return {
    place,
    module: new URL(import.meta.url),
    open: () => FileRegistry.open(place),
    close: () => rm(place, { recursive: true, force: true }),
  }
}
