import { renameSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, withStoreFaults } from '../faults.ts'
import { nameOf } from './index-file.ts'
import type { Layout, ResolvedImage } from './layout.ts'
import type { Descriptor } from './schemas.ts'

/** Says whether something outside the store (a sandbox, a checkpoint) needs the image with this manifest digest. */
export type InUse = (digest: string) => boolean | Promise<boolean>

/** What a collection removed. */
export interface Collected {
  images: number
  blobs: number
  layers: number
}

/**
 * Removes what nobody can reach: images without a name that nobody uses, then blobs and unpacked layers of no image. What is
 * held (an import or a create under way) stays. An image that cannot be read stops the collection with its error: nothing is
 * removed on a guess.
 */
export async function collectGarbage(layout: Layout, inUse: InUse): Promise<Collected> {
  const collected: Collected = { images: 0, blobs: 0, layers: 0 }
  await layout.index.change(async (manifests) => {
    const kept: Descriptor[] = []
    for (const descriptor of manifests) {
      if (nameOf(descriptor) !== undefined || (await isNeeded(layout, descriptor, inUse))) kept.push(descriptor)
    }
    collected.images = manifests.length - kept.length
    const reachable = await reach(layout, kept)
    for (const digest of await layout.blobs.list()) {
      if (reachable.has(digest) || layout.holds.has(digest)) continue
      await layout.blobs.remove(digest)
      collected.blobs++
    }
    collected.layers = await removeLayers(layout, reachable)
    return collected.images > 0 ? kept : undefined
  })
  return collected
}

async function isNeeded(layout: Layout, descriptor: Descriptor, inUse: InUse): Promise<boolean> {
  return layout.holds.has(descriptor.digest) || (await inUse(descriptor.digest))
}

async function reach(layout: Layout, manifests: Descriptor[]): Promise<Set<string>> {
  const reachable = new Set<string>()
  for (const descriptor of manifests) {
    const image = await layout.load(descriptor)
    for (const digest of imageDigests(image)) reachable.add(digest)
  }
  return reachable
}

/** Everything that an image consists of: its blobs, and the ids of its unpacked layers. */
export function imageDigests(image: ResolvedImage): string[] {
  return [
    image.digest,
    image.manifest.config.digest,
    ...image.manifest.layers.map((layer) => layer.digest),
    ...image.diffIds,
  ]
}

async function removeLayers(layout: Layout, reachable: Set<string>): Promise<number> {
  const root = join(layout.dir, 'unpacked')
  let removed = 0
  for (const uidBase of await namesIn(root)) {
    for (const hex of await namesIn(join(root, uidBase))) {
      const diffId = `sha256:${hex}`
      if (!/^[0-9a-f]{64}$/.test(hex) || reachable.has(diffId) || layout.holds.has(diffId)) continue
      // Out of sight first: a layer that is half removed must not look whole.
      const doomed = layout.scratch.newPath()
      await withStoreFaults(root, async () => {
        renameSync(layout.unpackedPath(Number(uidBase), hex), doomed)
        await rm(doomed, { recursive: true, force: true })
      })
      removed++
    }
  }
  return removed
}

async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    return withStoreFaults(path, () => Promise.reject(error))
  }
}
