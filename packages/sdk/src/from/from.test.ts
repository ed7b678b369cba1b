import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Coppice } from '../coppice.ts'
import { Image } from '../image.ts'
import { Sandbox } from '../sandbox.ts'
import { FakeImages } from '../testing/fake-images.ts'
import type { Taken } from './make.ts'
import { nameOfFile, recogniseFrom } from './recognise.ts'

let gateway: FakeImages
let client: Coppice
let scratch: string
beforeEach(async () => {
  gateway = await new FakeImages().start()
  client = new Coppice({ url: gateway.url, token: gateway.token, boundMs: 1000 })
  scratch = mkdtempSync(join(tmpdir(), 'coppice-from-'))
  mkdirSync(join(scratch, 'app'))
  writeFileSync(join(scratch, 'app/Dockerfile'), 'FROM x')
  mkdirSync(join(scratch, 'layout'))
  writeFileSync(join(scratch, 'layout/oci-layout'), '{}')
  mkdirSync(join(scratch, 'empty'))
  writeFileSync(join(scratch, 'x.tar'), 'x')
})
afterEach(() => {
  client.close()
  gateway.stop()
  rmSync(scratch, { recursive: true })
})

/** What a sandbox was made from, and what that was taken for. */
async function create(image: Image | string): Promise<{ from: string; taken: Taken[] }> {
  const taken: Taken[] = []
  await Sandbox.create({ client, image, onTaken: (what) => taken.push(what) })
  const { from } = JSON.parse(gateway.of('create').at(-1)?.body.toString() ?? '') as { from: string }
  return { from, taken }
}

describe('a sandbox is made from', () => {
  it('a folder with a Dockerfile: built', async () => {
    const folder = join(scratch, 'app')
    const { from, taken } = await create(folder)
    expect(from).toMatch(/^build\/[0-9a-f]{24}$/)
    expect(taken).toEqual([{ as: 'build', source: folder }])
    expect((await create(Image.dockerfile(folder, { name: 'mine' }))).from).toBe('mine')
  })

  it('an archive or a layout: imported', async () => {
    expect(await create(join(scratch, 'x.tar'))).toEqual({
      from: 'x',
      taken: [{ as: 'archive', source: join(scratch, 'x.tar') }],
    })
    expect((await create(join(scratch, 'layout'))).from).toBe('layout')
    await create(Image.archive(join(scratch, 'x.tar'), { name: 'y', ref: 'z' }))
    expect(gateway.of('import').at(-1)?.query.get('ref')).toBe('z')
  })

  it('a reference of the store: as it is', async () => {
    gateway.names.add('app:1')
    expect(await create('app:1')).toEqual({ from: 'app:1', taken: [{ as: 'image', source: 'app:1' }] })
    expect(gateway.of('pull')).toEqual([])
  })

  it('a checkpoint: by its id, by its name where no image has it, or as what is meant', async () => {
    const id = 'cp-00000000000001'
    gateway.checkpoints.set('ready', id)
    gateway.checkpoints.set('app', 'cp-00000000000002')
    gateway.names.add('app')
    const taken = [{ as: 'checkpoint', source: id }]
    expect(await create(id)).toEqual({ from: id, taken })
    expect(await create('ready')).toEqual({ from: 'ready', taken })
    expect((await create('app')).taken).toEqual([{ as: 'image', source: 'app' }])
    expect(await create(Image.checkpoint('app'))).toEqual({
      from: 'cp-00000000000002',
      taken: [{ as: 'checkpoint', source: 'cp-00000000000002' }],
    })
    expect(gateway.of('pull')).toEqual([])
  })

  it('a reference that the store does not have: pulled once', async () => {
    expect(await create('alpine:3')).toEqual({ from: 'alpine:3', taken: [{ as: 'pull', source: 'alpine:3' }] })
    expect(gateway.of('create')).toHaveLength(2)
    const keys = gateway.of('create').map(({ body }) => JSON.parse(body.toString()).key as string)
    expect(new Set(keys).size).toBe(2)
  })

  it.each(['base', 'sha256:0123456789ab', '0123456789ab', `build/${'0'.repeat(24)}`, 'Not/A/Reference'])(
    '%s only when the store has it',
    async (ref) => {
      gateway.names.clear()
      await expect(create(Image.ref(ref))).rejects.toMatchObject({ reason: 'image_not_found' })
      expect(gateway.of('pull')).toEqual([])
    },
  )
})

describe('a from text', () => {
  it('means what is there, else a reference', () => {
    expect(recogniseFrom('debian:13')).toEqual({ kind: 'reference', ref: 'debian:13' })
    expect(recogniseFrom('host:5000/a/b')).toEqual({ kind: 'reference', ref: 'host:5000/a/b' })
    expect(recogniseFrom('docker-daemon:app:1')).toEqual({ kind: 'engine', source: 'docker-daemon:app:1' })
    expect(recogniseFrom(`docker-archive:${scratch}/x.tar:app:1`)).toEqual({
      kind: 'archive',
      place: { kind: 'docker-archive', path: `${scratch}/x.tar`, reference: 'app:1' },
    })
  })

  it.each([
    ['./nowhere', 'local_file_not_found'],
    ['nowhere.tar.gz', 'local_file_not_found'],
    ['container:x', 'image_source'],
    ['-', 'image_source'],
  ])('%s is refused', (text, reason) => {
    expect(() => recogniseFrom(text)).toThrow(expect.objectContaining({ reason }))
  })

  it('is refused for a folder of neither', () => {
    expect(() => recogniseFrom(join(scratch, 'empty'))).toThrow(expect.objectContaining({ reason: 'nothing_to_build' }))
  })

  it.each([
    ['/tmp/My App.tar.gz', 'my-app'],
    ['app.oci.tar', 'app'],
    ['..', undefined],
  ])('names %j %j', (path, name) => {
    expect(nameOfFile(path)).toBe(name)
  })
})
