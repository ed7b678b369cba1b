import { renameSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, withStoreFaults } from '../faults.ts'
import { nameOf } from './index-file.ts'
import type { Layout, ResolvedImage } from './layout.ts'
import type { Descriptor } from './schemas.ts'

/**
 * Says whether something outside the store (a sandbox, a checkpoint) needs the image with this manifest digest. `unknown`: what may
 * need it cannot be read. Then it is kept, and may lose its name.
 */
export type InUse = (digest: string) => boolean | 'unknown' | Promise<boolean | 'unknown'>

/** What a collection removed. */
export interface Collected {
  images: number
  blobs: number
  layers: number
}

/** What a prune removed. */
export interface Pruned extends Collected {
  /** Images without a name that stay because of what cannot be read. */
  kept: number
  /** Downloads that had been cut off. */
  partials: number
  /** Of the blobs and partial downloads; unpacked layers are not measured. */
  bytes: number
}

/**
 * Removes what nobody can reach: images without a name that nobody uses, then blobs and unpacked layers of no image. What is
 * held (an import or a create under way) stays. An image that cannot be read stops the collection with its error: nothing is
 * removed on a guess.
 *
 * Everything goes out of sight under the index's lock, each in the step of the event loop in which it was found unneeded;
 * freeing the bytes, which can take long, comes after that.
 */
export async function collectGarbage(
  layout: Layout,
  inUse: InUse,
): Promise<Collected & { kept: number; bytes: number }> {
  const collected = { images: 0, blobs: 0, layers: 0, kept: 0, bytes: 0 }
  const doomed: string[] = []
  try {
    await layout.index.change(async (manifests) => {
      const kept: Descriptor[] = []
      for (const descriptor of manifests) {
        const needed = nameOf(descriptor) !== undefined || (await isNeeded(layout, descriptor, inUse))
        if (needed) kept.push(descriptor)
        if (needed === 'unknown') collected.kept++
      }
      const reachable = await reach(layout, kept)
      for (const digest of await layout.blobs.list()) {
        if (reachable.has(digest)) continue
        const size = (await layout.blobs.size(digest)) ?? 0
        if (layout.holds.has(digest)) continue
        const path = layout.scratch.newPath()
        await withStoreFaults(path, async () => layout.blobs.take(digest, path))
        doomed.push(path)
        collected.blobs++
        collected.bytes += size
      }
      collected.layers = await takeLayers(layout, reachable, doomed)
      // Whoever has found one of them by now and holds it has it back.
      const left = manifests.filter((descriptor) => kept.includes(descriptor) || layout.holds.has(descriptor.digest))
      collected.images = manifests.length - left.length
      return collected.images > 0 ? left : undefined
    })
  } finally {
    for (const path of doomed) await rm(path, { recursive: true, force: true })
    await layout.reserve.fill()
  }
  return collected
}

/** The same, and downloads that were cut off and that nobody is going on with. */
export async function prune(layout: Layout, inUse: InUse): Promise<Pruned> {
  const collected = await collectGarbage(layout, inUse)
  const partials = await layout.partials.remove((digest) => !layout.claims.has(digest))
  await layout.reserve.fill()
  return { ...collected, partials: partials.count, bytes: collected.bytes + partials.bytes }
}

async function isNeeded(layout: Layout, descriptor: Descriptor, inUse: InUse): Promise<boolean | 'unknown'> {
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

async function takeLayers(layout: Layout, reachable: Set<string>, doomed: string[]): Promise<number> {
  const root = join(layout.dir, 'unpacked')
  let taken = 0
  for (const uidBase of await namesIn(root)) {
    for (const hex of await namesIn(join(root, uidBase))) {
      const diffId = `sha256:${hex}`
      if (!/^[0-9a-f]{64}$/.test(hex) || reachable.has(diffId) || layout.holds.has(diffId)) continue
      // Out of sight as a whole: a layer that is half removed must not look whole.
      const path = layout.scratch.newPath()
      await withStoreFaults(root, async () => renameSync(layout.unpackedPath(Number(uidBase), hex), path))
      doomed.push(path)
      taken++
    }
  }
  return taken
}

async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    return withStoreFaults(path, () => Promise.reject(error))
  }
}
