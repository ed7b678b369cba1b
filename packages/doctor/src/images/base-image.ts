import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Check, type Finding, finding } from '../check.ts'
import { isAbsent } from '../faults.ts'

/** What an OCI index and manifest say about a blob. */
interface Descriptor {
  digest?: unknown
  size?: unknown
  annotations?: Record<string, unknown>
}

const NAME = 'org.opencontainers.image.ref.name'
const BASE = /^base(:latest)?$/
/** Manifests and indexes are some kilobytes. */
const MAX_JSON_BYTES = 16 * 1024 * 1024

/** The image that sandboxes are made from when nothing else is said: is it there, and is all of it there? */
export const baseImageCheck: Check = {
  id: 'images/base',
  async detect({ home, note }) {
    const index = await readJson(join(home.store, 'index.json'))
    if (index === undefined) return [noBase()]
    const manifests = (index as { manifests?: Descriptor[] }).manifests ?? []
    const base = manifests.find(({ annotations }) => BASE.test(String(annotations?.[NAME] ?? '')))
    if (!base) return [noBase()]
    const damage = await damageOf(home.store, base)
    if (damage.length === 0) note(`The image base is whole (${String(base.digest).slice(0, 19)}).`)
    return damage
  },
}

function noBase(): Finding {
  return finding(
    'warning',
    'There is no image base, which sandboxes are made from unless told otherwise.',
    'coppice image bootstrap',
  )
}

async function damageOf(store: string, base: Descriptor): Promise<Finding[]> {
  const again = 'coppice image rm base && coppice image bootstrap'
  const bad = (message: string, path: string) => [finding('error', message, again, { path })]
  const path = blobPath(store, base.digest)
  if (path === undefined) return bad('The image base has a malformed digest.', join(store, 'index.json'))
  const bytes = await readBlob(path)
  if (!bytes) return bad('The manifest of the image base is not there.', path)
  if (`sha256:${createHash('sha256').update(bytes).digest('hex')}` !== base.digest) {
    return bad('The manifest of the image base is damaged.', path)
  }
  const { config, layers } = JSON.parse(bytes.toString('utf8')) as { config?: Descriptor; layers?: Descriptor[] }
  for (const part of [config ?? {}, ...(layers ?? [])]) {
    const blob = blobPath(store, part.digest)
    if (blob === undefined) return bad('The manifest of the image base is malformed.', path)
    const found = await stat(blob).catch((error) => {
      if (isAbsent(error)) return undefined
      throw error
    })
    if (!found) return bad(`A part of the image base is not there: ${part.digest}.`, blob)
    if (found.size !== part.size) return bad(`A part of the image base has a wrong size: ${part.digest}.`, blob)
  }
  return []
}

function blobPath(store: string, digest: unknown): string | undefined {
  const hex = /^sha256:([0-9a-f]{64})$/.exec(String(digest))?.[1]
  return hex === undefined ? undefined : join(store, 'blobs', 'sha256', hex)
}

async function readBlob(path: string): Promise<Buffer | undefined> {
  try {
    if ((await stat(path)).size > MAX_JSON_BYTES) throw new Error(`${path} is too long for a manifest`)
    return await readFile(path)
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw error
  }
}

async function readJson(path: string): Promise<unknown> {
  const bytes = await readBlob(path)
  return bytes === undefined ? undefined : JSON.parse(bytes.toString('utf8'))
}
