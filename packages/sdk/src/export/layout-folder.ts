import { randomBytes } from 'node:crypto'
import { lstat, mkdir, readdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'
import { unpack } from '../tar/unpack.ts'

/** The annotation by which an image in a layout is named. */
const REF_NAME = 'org.opencontainers.image.ref.name'

interface Entry {
  annotations?: Record<string, string>
}

interface Index {
  manifests: Entry[]
}

/**
 * Unpacks an OCI archive into a folder, whole or not at all. In one that is an OCI layout the other images stay; one of the
 * same name is replaced.
 *
 * @throws `conflict/target_exists` for a folder that holds something else
 */
export async function writeLayout(archive: AsyncIterable<Buffer>, path: string): Promise<void> {
  const there = await stat(path).catch(() => undefined)
  const target = there ? await realpath(path) : resolve(path)
  const merge = there !== undefined && (await isTaken(target, path))
  const draft = join(dirname(target), `.${basename(target).slice(0, 200)}.${randomBytes(4).toString('hex')}.new`)
  try {
    await mkdir(draft)
    await unpack(archive, draft)
    if (merge) await mergeInto(draft, target)
    else await rename(draft, target)
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
}

/** False for an empty folder, true for a layout. */
async function isTaken(folder: string, shown: string): Promise<boolean> {
  if ((await readdir(folder)).length === 0) return false
  if (await exists(join(folder, 'oci-layout'))) return true
  throw new CoppiceError(
    'conflict',
    'target_exists',
    `${shown} is there and holds something else than an OCI layout.`,
    {
      facts: { path: shown },
      hint: 'Name a folder that is empty or not there yet.',
    },
  )
}

/** Blobs first, under the digests that nobody refers to yet; the index, which makes them an image, at once and last. */
async function mergeInto(draft: string, target: string): Promise<void> {
  const added = await readIndex(draft)
  const present = await readIndex(target)
  for (const algorithm of await readdir(join(draft, 'blobs'))) {
    await mkdir(join(target, 'blobs', algorithm), { recursive: true })
    for (const blob of await readdir(join(draft, 'blobs', algorithm))) {
      const place = join(target, 'blobs', algorithm, blob)
      if (!(await exists(place))) await rename(join(draft, 'blobs', algorithm, blob), place)
    }
  }
  const names = new Set(added.manifests.map(nameOf))
  const kept = present.manifests.filter((entry) => nameOf(entry) === undefined || !names.has(nameOf(entry)))
  const next = join(draft, 'index.next.json')
  await writeFile(next, JSON.stringify({ ...present, manifests: [...kept, ...added.manifests] }))
  await rename(next, join(target, 'index.json'))
}

async function readIndex(folder: string): Promise<Index> {
  const index = JSON.parse(await readFile(join(folder, 'index.json'), 'utf8')) as Partial<Index>
  return { ...index, manifests: Array.isArray(index.manifests) ? index.manifests : [] }
}

function nameOf(entry: Entry): string | undefined {
  return entry.annotations?.[REF_NAME]
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined
}
