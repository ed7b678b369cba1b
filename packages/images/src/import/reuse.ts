import type { ArchivePrint } from '@coppice/protocol/wire'
import { imageDigests } from '../store/garbage.ts'
import type { Hold } from '../store/holds.ts'
import { type KnownArchive, knownArchives } from '../store/known-archives.ts'
import type { Layout, ResolvedImage } from '../store/layout.ts'

/** Whether it is worth while to hash an archive of which only this is known. */
export async function mayBeKnown(layout: Layout, { size, tail }: Omit<ArchivePrint, 'digest'>): Promise<boolean> {
  const manifests = await layout.index.read()
  return manifests.flatMap(knownArchives).some((archive) => archive.size === size && archive.tail === tail)
}

/**
 * The image that came from an archive of exactly these bytes by the same choice, whole and held. Undefined when there is none, and
 * when a part of it is missing: then it has to come again.
 */
export async function knownImage(
  layout: Layout,
  print: ArchivePrint,
  choice: string,
  hold: Hold,
): Promise<{ image: ResolvedImage; archive: KnownArchive } | undefined> {
  let found: { image: ResolvedImage; archive: KnownArchive } | undefined
  // In a turn of its own: no collection can be half-way.
  await layout.index.change(async (manifests) => {
    for (const descriptor of manifests) {
      const archive = knownArchives(descriptor).find(
        (known) =>
          known.digest === print.digest &&
          known.size === print.size &&
          known.tail === print.tail &&
          known.choice === choice,
      )
      const image = archive && (await wholeImage(layout, () => layout.load(descriptor)))
      if (!image) continue
      hold.add(...imageDigests(image))
      found = { image, archive }
      break
    }
    return undefined
  })
  return found
}

async function wholeImage(layout: Layout, load: () => Promise<ResolvedImage>): Promise<ResolvedImage | undefined> {
  try {
    const image = await load()
    for (const { digest, size } of image.manifest.layers)
      if ((await layout.blobs.size(digest)) !== size) return undefined
    return image
  } catch {
    return undefined
  }
}
