import type { Progress } from '@coppice/protocol/wire'
import { z } from 'zod'
import { type Compression, MAGIC_BYTES, recogniseCompression } from '../compression.ts'
import { badArchive } from '../faults.ts'
import type { Intake } from '../store/intake.ts'
import { sameName } from '../store/references.ts'
import { type Descriptor, MediaType, parseConfig, parseJson } from '../store/schemas.ts'
import { ByteProgress } from './byte-progress.ts'
import { notInLayout, type Platform, requirePlatform, severalImages } from './choose-image.ts'
import { type FileSource, missing, readSmall } from './file-source.ts'
import type { Found } from './oci.ts'

const ManifestSchema = z
  .array(
    z.looseObject({
      Config: z.string(),
      RepoTags: z.array(z.string()).nullish(),
      Layers: z.array(z.string()).max(512),
    }),
  )
  .max(10_000)
type Entry = z.infer<typeof ManifestSchema>[number]

/**
 * Copies one image of a `docker save` archive into the store: only the layers that it lacks, which are known by the config's
 * diff ids. The image becomes an OCI image; config and layers keep their bytes, and so the image its Docker id.
 *
 * @param required another one is refused
 */
export async function importDockerArchive(
  source: FileSource,
  ref: string | undefined,
  required: Platform | undefined,
  intake: Intake,
  progress: Progress,
): Promise<Found> {
  const entries = parseJson(ManifestSchema, await readSmall(source, 'manifest.json'), 'manifest.json of the archive')
  const entry = chooseEntry(entries, ref)
  const configBytes = await readSmall(source, entry.Config)
  const config = parseConfig(configBytes, `The image config ${entry.Config}`)
  if (required) requirePlatform(config, required)
  const diffIds = config.rootfs.diff_ids
  if (diffIds.length !== entry.Layers.length) {
    throw badArchive('malformed_image', 'The archive names layers that its config does not.', {
      layers: entry.Layers.length,
      diffIds: diffIds.length,
    })
  }
  const sizes = await Promise.all(entry.Layers.map((name) => mustHave(source, name)))
  const total = sizes.reduce((sum, size) => sum + size, 0)
  const counter = new ByteProgress('Copying layers', total, progress)
  // What is packed is another blob than its diff id: the store may have it, which only reading it tells.
  const plain = await Promise.all(entry.Layers.map(async (name) => (await compressionIn(source, name)) === 'none'))
  const parts = diffIds.map((digest, at) => ({ digest, size: sizes[at] ?? 0 }))
  if (!source.spooled) await intake.requireRoomFor(parts.filter((_, at) => plain[at]))
  const layers: Descriptor[] = []
  for (const [at, diffId] of diffIds.entries()) {
    layers.push(await copyLayer(source, entry.Layers[at] ?? '', sizes[at] ?? 0, diffId, intake, counter))
  }
  const configId = await intake.writeSmall(configBytes)
  const platform = { architecture: config.architecture, os: config.os }
  const manifest = {
    schemaVersion: 2,
    mediaType: MediaType.manifest,
    config: { mediaType: MediaType.config, ...configId },
    layers,
  }
  const id = await intake.writeSmall(JSON.stringify(manifest))
  return {
    descriptor: { mediaType: MediaType.manifest, ...id, platform },
    name: placeIn(ref) === undefined ? (ref ?? entry.RepoTags?.[0]) : entry.RepoTags?.[0],
  }
}

/** Of `@N`, which means an image by its place in the archive's list. */
export function placeIn(ref: string | undefined): number | undefined {
  const place = /^@([0-9]{1,5})$/.exec(ref ?? '')?.[1]
  return place === undefined ? undefined : Number(place)
}

/** Engines write layers unpacked; some builders pack them, and then the diff id is checked when the layer is unpacked. */
async function copyLayer(
  source: FileSource,
  name: string,
  size: number,
  diffId: string,
  intake: Intake,
  counter: ByteProgress,
): Promise<Descriptor> {
  const compression = await compressionIn(source, name)
  if (compression === 'none') {
    await source.intoStore(name, { digest: diffId, size }, intake, counter)
    return { mediaType: MediaType.layer, digest: diffId, size }
  }
  const id = await source.identify(name)
  await source.intoStore(name, id, intake, counter)
  return { mediaType: `${MediaType.layer}+${compression}`, ...id }
}

async function compressionIn(source: FileSource, name: string): Promise<Compression> {
  return recogniseCompression(await source.start(name, MAGIC_BYTES))
}

async function mustHave(source: FileSource, name: string): Promise<number> {
  const size = await source.size(name)
  if (size === undefined) throw missing(name)
  return size
}

/** By one of its names, or `@N`, its place; without either the only one. */
function chooseEntry(entries: Entry[], ref: string | undefined): Entry {
  const place = placeIn(ref)
  const fits =
    ref === undefined
      ? entries
      : place !== undefined
        ? entries.slice(place, place + 1)
        : entries.filter((entry) => entry.RepoTags?.some((name) => sameName(name, ref)))
  const [only] = fits
  if (only && fits.length === 1) return only
  const names = entries.map((entry, at) => entry.RepoTags?.[0] ?? `@${at}`)
  const where = 'docker-archive:FILE'
  throw only ? severalImages(names, where) : notInLayout(ref, names, where)
}
