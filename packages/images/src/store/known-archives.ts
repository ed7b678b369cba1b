import type { ArchivePrint } from '@coppice/protocol/wire'
import { z } from 'zod'
import { ARCHIVES, type Descriptor } from './schemas.ts'

/** Archives that are remembered of one image. */
const MAX_ARCHIVES = 8

/**
 * An archive that an image came from. It stands at the image in the store's own index: it is there with the image, in one write, and
 * goes with it.
 */
export interface KnownArchive extends ArchivePrint {
  /** What else decided what was taken out of it. */
  choice: string
  /** What the archive itself calls the image. */
  named?: string | undefined
}

const KnownArchivesSchema = z.array(
  z.object({
    digest: z.string(),
    size: z.number(),
    tail: z.string(),
    choice: z.string(),
    named: z.string().optional(),
  }),
)

/** Those of an image; none where they cannot be read: they only save work. */
export function knownArchives(descriptor: Descriptor | undefined): KnownArchive[] {
  try {
    return KnownArchivesSchema.parse(JSON.parse(descriptor?.annotations?.[ARCHIVES] ?? '[]'))
  } catch {
    return []
  }
}

/** As annotation of an image: the latest ones, each once. */
export function archivesAnnotation(archives: KnownArchive[]): Record<string, string> {
  const byContent = new Map(archives.map((archive) => [`${archive.digest} ${archive.choice}`, archive]))
  if (byContent.size === 0) return {}
  return { [ARCHIVES]: JSON.stringify([...byContent.values()].slice(-MAX_ARCHIVES)) }
}
