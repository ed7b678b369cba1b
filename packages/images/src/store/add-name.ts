import { nameOf, withName } from './index-file.ts'
import { archivesAnnotation, knownArchives } from './known-archives.ts'
import { sameName } from './references.ts'
import { type Descriptor, PLACES } from './schemas.ts'

/**
 * The list with an image under its name. Whatever had the name loses it and stays (`replaced`: somebody has no name now);
 * the same image under the same name is one, and what was known of where it is and where it came from stays known.
 */
export function addName(manifests: Descriptor[], added: Descriptor): { manifests: Descriptor[]; replaced: boolean } {
  const name = nameOf(added) ?? ''
  const same = manifests.find((other) => sameName(nameOf(other), name) && other.digest === added.digest)
  const others = manifests
    .filter((other) => other !== same)
    .map((other) => (sameName(nameOf(other), name) ? withName(other, undefined) : other))
  const places = same?.annotations?.[PLACES]
  const annotations = {
    ...(places !== undefined && { [PLACES]: places }),
    ...added.annotations,
    ...archivesAnnotation([...knownArchives(same), ...knownArchives(added)]),
  }
  const known = { ...added, annotations }
  return { manifests: [...others, known], replaced: others.some((other) => nameOf(other) === undefined) }
}
