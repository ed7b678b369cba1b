import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ImageStore } from '../image-store.ts'
import { type Fault, FaultRegistry } from '../testing/fault-registry.ts'
import { writeLayout } from '../testing/layout-builder.ts'
import { buildTar } from '../testing/tar-builder.ts'
import type { RegistryOptions } from './settings.ts'

const none = Progress.none()
const hello = buildTar([{ name: 'hello', body: 'hello' }])
const noise = buildTar([{ name: 'noise', body: randomBytes(3_000_000) }])
const noiseDigest = `sha256:${createHash('sha256').update(noise).digest('hex')}`

describe('an image that is pushed', () => {
  let dir: string
  let store: ImageStore
  let registry: FaultRegistry
  const push = (target: string, options: RegistryOptions = {}, reference = 'app') =>
    store.push(
      reference,
      `${registry.host}/${target}`,
      { registry: { retryMs: 1, attempts: 3, parallel: 1, ...options } },
      none,
    )
  /** Things that go wrong with requests of one method below `uploads/` of the large blob, one after the other. */
  const uploadFaults = (method: string, ...faults: (Fault | undefined)[]) => {
    registry.fault = (seen) => (seen.method === method && seen.path.includes('/uploads/') ? faults.shift() : undefined)
  }
  const uploads = (method: string) => registry.requests(method, /\/uploads\//)
  const sent = () => registry.seen.reduce((sum, seen) => sum + seen.bytes, 0)

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'coppice-push-'))
    store = await ImageStore.open(join(dir, 'store'))
    registry = await FaultRegistry.start()
    await writeLayout(join(dir, 'layout'), [{ layers: [{ tar: noise }, { tar: hello, packed: 'gzip' }] }])
    await store.import(join(dir, 'layout'), { name: 'app' }, none)
  })
  afterEach(async () => {
    await registry.stop()
    await rm(dir, { recursive: true, force: true })
  })

  it('can be pulled as the same image', async () => {
    const { digest } = await store.resolve('app')
    expect(await push('team/app:1')).toEqual({
      reference: `${registry.host}/team/app:1`,
      digest,
      present: 0,
      mounted: 0,
      uploaded: 3,
      uploadedBytes: [...registry.blobs.values()].reduce((sum, bytes) => sum + bytes.length, 0),
    })
    const other = await ImageStore.open(join(dir, 'other'))
    expect(await other.import(`${registry.host}/team/app:1`, {}, none)).toMatchObject({ digest })
  })

  it('goes there once, manifest last, and then only what is new', async () => {
    await push('app:1')
    expect(registry.seen.at(-1)).toMatchObject({ method: 'PUT', path: '/v2/app/manifests/1' })
    const before = sent()
    expect(await push('app:2')).toMatchObject({ present: 3, uploaded: 0, uploadedBytes: 0 })
    expect(sent() - before).toBeLessThan(5000)
  })

  it('is taken over from a repository of the same registry that has it', async () => {
    await push('first/app:1')
    for (const digest of registry.blobs.keys()) registry.mountable.add(`first/app ${digest}`)
    registry.fault = (seen) => (seen.method === 'HEAD' ? { status: 404 } : undefined)
    expect(await push('second/app:1')).toMatchObject({ mounted: 3, uploaded: 0 })
    // And a registry that will not is simply sent the bytes.
    registry.mountable.clear()
    expect(await push('third/app:1')).toMatchObject({ mounted: 0, uploaded: 3 })
  })

  it('and cut goes on where the registry says that it is', async () => {
    uploadFaults('PATCH', { cutRequestAfter: 1_000_000 }, { cutRequestAfter: 500_000 })
    await push('app:1')
    expect(uploads('PATCH').map((seen) => seen.bytes)).toEqual([1_000_000, 500_000, noise.length - 1_500_000])
    expect(registry.blobs.get(noiseDigest)?.equals(noise)).toBe(true)
  })

  it('and cut begins anew where the registry cannot say', async () => {
    registry.uploadStatus = false
    uploadFaults('PATCH', { cutRequestAfter: 1_000_000 })
    await push('app:1')
    expect(uploads('PATCH').map((seen) => seen.bytes)).toEqual([1_000_000, noise.length])
  })

  it('goes in pieces where that is wanted, or where the whole is too large', async () => {
    await push('app:1', { uploadChunkBytes: 1_000_000 })
    expect(uploads('PATCH').map((seen) => seen.bytes)).toEqual([
      1_000_000,
      1_000_000,
      1_000_000,
      noise.length - 3_000_000,
    ])
    registry.blobs.clear()
    uploadFaults('PATCH', { status: 413 })
    await push('app:2')
    expect(registry.blobs.get(noiseDigest)?.equals(noise)).toBe(true)
  })

  it('and forgotten by the registry half-way begins anew', async () => {
    uploadFaults('PATCH', undefined, { status: 404 })
    await push('app:1', { uploadChunkBytes: 2_000_000 })
    expect(registry.blobs.get(noiseDigest)?.equals(noise)).toBe(true)
  })

  it.each<[string, string, RegExp, Fault, object]>([
    ['denied', 'POST', /uploads/, { status: 403 }, { code: 'permission_denied', reason: 'registry_denied' }],
    ['not known', 'POST', /uploads/, { status: 401 }, { code: 'unauthenticated' }],
    ['always failing', 'PATCH', /uploads/, { status: 500 }, { code: 'unavailable', reason: 'registry_failed' }],
    ['always cut', 'PATCH', /uploads/, { cutRequestAfter: 0 }, { code: 'unavailable', reason: 'registry_unreachable' }],
    ['of the opinion that it got something else', 'PUT', /uploads/, { status: 400 }, { reason: 'registry_failed' }],
    ['giving no place for it', 'POST', /uploads/, { status: 202 }, { reason: 'registry_answer' }],
    ['against its manifest', 'PUT', /manifests/, { status: 400 }, { reason: 'registry_failed' }],
    [
      'taking its manifest for another',
      'PUT',
      /manifests/,
      { status: 201, headers: { 'docker-content-digest': `sha256:${'0'.repeat(64)}` } },
      { reason: 'registry_answer' },
    ],
  ])('to a registry that is %s fails typed', async (_, method, path, fault, expected) => {
    registry.fault = (seen) => (seen.method === method && path.test(seen.path) ? fault : undefined)
    await expect(push('app:1')).rejects.toMatchObject(expected)
    expect(registry.manifests.size).toBe(0)
  })

  it('under the digest of another is refused', async () => {
    await expect(push(`app@sha256:${'0'.repeat(64)}`)).rejects.toMatchObject({ reason: 'digest_mismatch' })
    expect(registry.seen).toEqual([])
  })

  it('stays whole while its last name is removed', async () => {
    uploadFaults('PATCH', { cutRequestAfter: 1_000_000 })
    let removed: ReturnType<ImageStore['remove']> | undefined
    registry.fault = (seen) => {
      if (seen.method === 'PATCH') removed ??= store.remove('app')
      return undefined
    }
    await push('app:1')
    // It goes with whichever of the two comes after the push.
    const gone = [await removed, await store.prune()]
    expect(registry.blobs.get(noiseDigest)?.equals(noise)).toBe(true)
    expect(gone.reduce((blobs, one) => blobs + (one?.blobs ?? 0), 0)).toBe(4)
  })
})
