import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { ARCHIVE_TAIL_BYTES, CoppiceError, Progress, REMEMBERED_ARCHIVE_BYTES } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest'
import { ImageStore } from '../image-store.ts'
import { hostArchitecture } from '../store/schemas.ts'
import { writeLayout } from '../testing/layout-builder.ts'
import { buildTar } from '../testing/tar-builder.ts'
import { parsePlatform } from './choose-image.ts'
import type { ImportStreamOptions } from './imports.ts'

const none = Progress.none()
const sha256 = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')
const rootfs = buildTar([{ name: 'hello', body: 'hello' }])
const OTHER = hostArchitecture() === 'arm64' ? 'amd64' : 'arm64'

interface TestImage {
  tags: string[] | null
  architecture?: string
  variant?: string
  layerBytes?: number
}

/** What `docker save` wrote before version 25. */
function dockerArchive(images: TestImage[]): Buffer {
  const parts = images.map(({ tags, architecture = hostArchitecture(), variant, layerBytes = 10 }, at) => {
    const layer = buildTar([{ name: `f${at}`, body: Buffer.alloc(layerBytes, 'x') }])
    const diffIds = [`sha256:${sha256(layer)}`]
    const config = JSON.stringify({ architecture, variant, os: 'linux', rootfs: { type: 'layers', diff_ids: diffIds } })
    const names = { Config: `${sha256(config)}.json`, Layers: [`${sha256(`${at}`)}/layer.tar`] }
    const files = [
      { name: names.Config, body: config },
      { name: names.Layers[0] ?? '', body: layer },
    ]
    return { files, entry: { ...names, RepoTags: tags } }
  })
  const list = { name: 'manifest.json', body: JSON.stringify(parts.map(({ entry }) => entry)) }
  return buildTar([...parts.flatMap(({ files }) => files), list])
}

let dir: string
let store: ImageStore
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'coppice-which-'))
  store = await ImageStore.open(join(dir, 'store'))
})
afterEach(() => rm(dir, { recursive: true }))

async function* pieces(bytes: Buffer) {
  yield bytes
}
const bring = (bytes: Buffer, options: ImportStreamOptions = {}) => store.importStream(pieces(bytes), options, none)
const refusal = async (work: Promise<unknown>) =>
  CoppiceError.from(
    await work.then(
      () => 'nothing was refused',
      (error: unknown) => error,
    ),
  )

describe('the image at a place of a docker archive', () => {
  const format = 'docker-archive' as const
  const archive = dockerArchive([{ tags: ['a:1', 'b:1'] }, { tags: null }])

  it('is called as the archive calls it', async () => {
    expect(await bring(archive, { format, ref: '@0', fallbackName: 'file' })).toMatchObject({ name: 'a:1' })
    await writeFile(join(dir, 'all.tar'), archive)
    expect(await store.import(`docker-archive:${join(dir, 'all.tar')}:@0`, {}, none)).toMatchObject({ name: 'a:1' })
  })

  it('that has no name there needs one, and is not called like the file, as the next one would be', async () => {
    expect(await refusal(bring(archive, { format, ref: '@1', fallbackName: 'file' }))).toMatchObject({
      reason: 'image_without_name',
      hint: 'coppice image import docker-archive:FILE:@1 --name NAME',
    })
    expect(await bring(archive, { format, ref: '@1', name: 'second' })).toMatchObject({ name: 'second' })
    expect((await store.list()).images.map(({ name }) => name)).toEqual(['second'])
  })

  it('needs one too when it was imported before under another one', async () => {
    const large = dockerArchive([{ tags: null, layerBytes: REMEMBERED_ARCHIVE_BYTES }])
    const how = { format, ref: '@0', sizeBytes: large.length, remember: true }
    await bring(large, { ...how, name: 'mine' })
    const print = {
      digest: `sha256:${sha256(large)}`,
      size: large.length,
      tail: sha256(large.subarray(-ARCHIVE_TAIL_BYTES)),
    }
    expect(await refusal(store.known(print, how, none))).toMatchObject({ reason: 'image_without_name' })
    expect(await store.known(print, { ...how, name: 'other' }, none)).toMatchObject({ name: 'other' })
  })
})

describe('which image is meant, where nobody said', () => {
  it('is asked with the names that are there, and the way to write one', async () => {
    const archive = dockerArchive([{ tags: ['a:1'] }, { tags: null }])
    expect(await refusal(bring(archive))).toMatchObject({
      reason: 'several_images_in_layout',
      message: 'It holds several images: a:1, @1.',
      hint: 'docker-archive:FILE:a:1',
    })
    expect(await refusal(bring(archive, { ref: 'c' }))).toMatchObject({
      reason: 'image_not_in_layout',
      message: 'There is no image named "c" in it, but: a:1, @1.',
      hint: 'docker-archive:FILE:a:1',
    })
  })

  it('is asked in the words of a layout folder and of an OCI archive', async () => {
    const layout = join(dir, 'layout')
    await writeLayout(layout, [
      { layers: [{ tar: rootfs }], name: 'x' },
      { layers: [{ tar: dockerArchive([]) }], name: 'y' },
    ])
    expect(await refusal(store.import(`oci:${layout}`, {}, none))).toMatchObject({
      message: 'It holds several images: x, y.',
      hint: `oci:${layout}:x`,
    })
    const index = await readFile(join(layout, 'index.json'))
    const marker = await readFile(join(layout, 'oci-layout'))
    const archive = buildTar([
      { name: 'oci-layout', body: marker },
      { name: 'index.json', body: index },
    ])
    expect(await refusal(bring(archive))).toMatchObject({ hint: 'oci-archive:FILE:x' })
  })

  it('is asked with ten names of many, and with nothing in them that a terminal would obey', async () => {
    const archive = dockerArchive(Array.from({ length: 13 }, (_, at) => ({ tags: [`n${at}\u001b[2J`] })))
    const { message } = await refusal(bring(archive))
    expect(message).toMatch(/^It holds several images: n0\?\[2J, .*n9\?\[2J and 3 more\.$/)
  })

  it('is no question where there is none', async () => {
    expect(await refusal(bring(dockerArchive([])))).toMatchObject({ message: 'There is no image in it.' })
  })
})

test.each([
  ['Linux/aarch64', { os: 'linux', architecture: 'arm64' }],
  ['x86_64', { os: 'linux', architecture: 'amd64' }],
  ['linux/armhf', { os: 'linux', architecture: 'arm', variant: 'v7' }],
  ['linux/arm64/v8', { os: 'linux', architecture: 'arm64', variant: 'v8' }],
  ['constructor', { os: 'linux', architecture: 'constructor' }],
])('the platform %s is understood as other tools do', (text, platform) => {
  expect(parsePlatform(text)).toEqual(platform)
})

describe('a platform that was asked for', () => {
  const platform = `linux/${OTHER}`
  const refused = { reason: 'no_image_for_platform', facts: { platforms: [`linux/${hostArchitecture()}`] } }

  it.each<[string, Buffer]>([
    ['a docker archive', dockerArchive([{ tags: ['a'] }])],
    ['a packed one', gzipSync(dockerArchive([{ tags: ['a'] }]))],
    ['a root file system', rootfs],
  ])('is the one that comes, or nothing does: of %s', async (_, archive) => {
    expect(await refusal(bring(archive, { platform }))).toMatchObject(refused)
    expect(await refusal(bring(archive, { platform: 'foo' }))).toMatchObject(refused)
    expect(await refusal(bring(archive, { platform: 'foo bar' }))).toMatchObject({ reason: 'invalid_platform' })
    expect((await store.list()).images).toEqual([])
    expect(await bring(archive, { platform: `linux/${hostArchitecture()}`, name: 'a' })).toMatchObject({ name: 'a' })
  })

  it('is the one that comes, or nothing does: of a layout', async () => {
    const layout = join(dir, 'layout')
    await writeLayout(layout, [{ layers: [{ tar: rootfs }], name: 'x', architecture: hostArchitecture() }])
    expect(await refusal(store.import(layout, { platform }, none))).toMatchObject({ reason: 'no_image_for_platform' })
    expect(await store.import(layout, {}, none)).toMatchObject({ name: 'x' })
  })

  it('counts with its variant where the image says one', async () => {
    const archive = (variant?: string) =>
      dockerArchive([{ tags: ['a'], architecture: 'arm', ...(variant && { variant }) }])
    const platform = 'linux/arm/v7'
    expect(await bring(archive(), { platform })).toMatchObject({ architecture: 'arm' })
    expect(await bring(archive('v7'), { platform })).toMatchObject({ architecture: 'arm' })
    expect(await refusal(bring(archive('v6'), { platform }))).toMatchObject({ facts: { platforms: ['linux/arm/v6'] } })
  })

  it('is not needed for an image of another one', async () => {
    const archive = dockerArchive([{ tags: ['a'], architecture: OTHER }])
    expect(await bring(archive)).toMatchObject({ architecture: OTHER })
    expect(await bring(archive, { platform })).toMatchObject({ architecture: OTHER })
  })

  it('is looked for again in an archive that was imported without it', async () => {
    const large = dockerArchive([{ tags: ['a'], architecture: OTHER, layerBytes: REMEMBERED_ARCHIVE_BYTES }])
    await bring(large, { sizeBytes: large.length, remember: true })
    const print = {
      digest: `sha256:${sha256(large)}`,
      size: large.length,
      tail: sha256(large.subarray(-ARCHIVE_TAIL_BYTES)),
    }
    expect(await store.known(print, {}, none)).toBeDefined()
    expect(await store.known(print, { platform: `linux/${hostArchitecture()}` }, none)).toBeUndefined()
  })
})

describe('what is no image', () => {
  it.each<[string, Buffer, ImportStreamOptions, object]>([
    [
      'a root file system as docker archive',
      rootfs,
      { format: 'docker-archive' },
      {
        reason: 'layout_incomplete',
        message: 'It is no docker archive: it holds no manifest.json.',
        hint: 'coppice image import FILE',
      },
    ],
    [
      'a root file system as OCI archive',
      rootfs,
      { format: 'oci-archive' },
      {
        reason: 'layout_incomplete',
        message: 'It is no OCI archive: it holds no oci-layout and index.json.',
        hint: 'coppice image import FILE',
      },
    ],
    ['a few words', Buffer.from('FROM debian\n'), {}, { reason: 'not_an_archive' }],
    ['a few words, packed', gzipSync('FROM debian\n'), {}, { reason: 'not_an_archive' }],
    [
      'an archive packed with xz',
      Buffer.from('fd377a585a000004', 'hex'),
      {},
      { reason: 'unsupported_compression', hint: 'xz -dc FILE | coppice image import -' },
    ],
    [
      'an archive packed with bzip2',
      Buffer.from('BZh91AY&SY'),
      {},
      { reason: 'unsupported_compression', hint: 'bzip2 -dc FILE | coppice image import -' },
    ],
  ])('is called so: %s', async (_, bytes, options, expected) => {
    expect(await refusal(bring(bytes, options))).toMatchObject(expected)
  })
})

it('a name of an archive that no image can have is not remembered with it', async () => {
  const large = dockerArchive([{ tags: ['x'.repeat(1024 * 1024)], layerBytes: REMEMBERED_ARCHIVE_BYTES }])
  await bring(large, { name: 'mine', sizeBytes: large.length, remember: true })
  expect((await readFile(join(dir, 'store/index.json'))).length).toBeLessThan(2000)
})
