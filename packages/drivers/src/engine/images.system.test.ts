import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterAll, afterEach, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import type { LayerBlob, SandboxSpec } from '../driver.ts'
import { EngineSubject, packLayer } from '../testing/engine-subject.ts'
import type { EngineDriver } from './driver.ts'

const none = Progress.none()

for (const kind of ['docker', 'podman'] as const) {
  describe(`images in ${kind}`, () => {
    let subject: EngineSubject
    let unavailable: string | undefined
    let driver: EngineDriver
    let made = 0

    beforeAll(async () => {
      const opened = await EngineSubject.open(kind)
      if ('unavailable' in opened) {
        unavailable = opened.unavailable
        return
      }
      subject = opened
      driver = subject.open()
    })
    afterEach(async () => {
      for (const { id } of (await driver?.list(none)) ?? []) await driver.remove(id, none)
      await driver?.pruneImages(() => false, none)
    })
    afterAll(async () => {
      await driver?.close()
      await subject?.close()
    })

    /** A layer with one file, `/NAME`, and how often it was read. */
    const layer = (context: TestContext, name: string, encoding: LayerBlob['encoding'] = 'identity') => {
      if (unavailable) context.skip(unavailable)
      const folder = join(subject.workspace.path, `layer-${made++}`)
      mkdirSync(folder)
      writeFileSync(join(folder, name), `${name} ${made}\n`)
      return counted(packLayer(folder, `${folder}.tar`, encoding))
    }
    const counted = (blob: LayerBlob) => {
      const counter = { reads: 0, blob }
      const { open } = blob
      counter.blob = {
        ...blob,
        open: () => {
          counter.reads++
          return open()
        },
      }
      return counter
    }
    const specOf = (...blobs: LayerBlob[]): SandboxSpec => {
      const spec = subject.spec()
      spec.image.blobs = blobs
      return spec
    }
    const ls = async (id: string): Promise<string> => (await subject.inside(id, ['sh', '-c', 'ls /'])).output

    test('are sent once, whoever asks for them at the same time', async (context) => {
      const top = layer(context, 'top')
      const specs = Array.from({ length: 4 }, () => specOf(subject.layer, top.blob))
      await Promise.all(specs.map((spec) => driver.create(spec, none)))
      await driver.create(specOf(subject.layer, top.blob), none)
      expect(top.reads).toBe(1)
      for (const { id } of specs) expect(await ls(id)).toContain('top')
    })

    test('are sent as the layers that the engine lacks, and nothing else', async (context) => {
      const [base, one, two] = [counted(subject.layer), layer(context, 'one'), layer(context, 'two')]
      await driver.create(specOf(base.blob, one.blob), none)
      expect([base.reads, one.reads]).toEqual([1, 1])
      const { id } = await driver.create(specOf(base.blob, one.blob, two.blob), none)
      expect([base.reads, one.reads, two.reads]).toEqual([1, 1, 1])
      expect(await ls(id)).toMatch(/one[\s\S]*two/)
    })

    test('with the same layers in another order are right all the same', async (context) => {
      const [one, two] = [layer(context, 'one'), layer(context, 'two')]
      await driver.create(specOf(subject.layer, one.blob, two.blob), none)
      const { id } = await driver.create(specOf(two.blob, subject.layer, one.blob), none)
      expect(await ls(id)).toMatch(/one[\s\S]*two/)
    })

    test('that hold one layer twice are right', async (context) => {
      const twice = layer(context, 'twice')
      const { id } = await driver.create(specOf(subject.layer, twice.blob, twice.blob), none)
      expect(await ls(id)).toContain('twice')
    })

    for (const encoding of ['gzip', 'zstd'] as const) {
      test(`with layers packed by ${encoding} are the same, and are not sent again however they are packed`, async (context) => {
        const packed = layer(context, 'packed', encoding)
        expect(packed.blob.digest).not.toBe(packed.blob.diffId)
        const { id } = await driver.create(specOf(subject.layer, packed.blob), none)
        expect(await ls(id)).toContain('packed')
        const reads = packed.reads
        const [plain, top] = [
          counted({ ...subject.layer, encoding, digest: `sha256:${'1'.repeat(64)}` }),
          layer(context, 'top'),
        ]
        const other = await driver.create(specOf(plain.blob, packed.blob, top.blob), none)
        expect(await ls(other.id)).toMatch(/packed[\s\S]*top/)
        expect([plain.reads, packed.reads, top.reads]).toEqual([0, reads, 1])
      })
    }

    test('that somebody removed from the engine are sent again', async (context) => {
      const top = layer(context, 'top')
      await driver.create(specOf(subject.layer, top.blob), none)
      for (const { id } of await driver.list(none)) await driver.remove(id, none)
      const { output } = await subject.engine.run('images', '--quiet')
      for (const id of new Set(output.split('\n').filter(Boolean))) await subject.engine.run('rmi', '--force', id)
      const { id } = await driver.create(specOf(subject.layer, top.blob), none)
      expect([top.reads, await ls(id)]).toEqual([2, expect.stringContaining('top')])
    })

    test('whose sending is aborted leave no image, and the next create sends them', async (context) => {
      const top = layer(context, 'top')
      const abort = new AbortController()
      const blob: LayerBlob = {
        ...top.blob,
        open: async () =>
          (async function* () {
            abort.abort()
            yield* await top.blob.open()
          })(),
      }
      const spec = specOf(subject.layer, blob)
      await expect(driver.create(spec, new Progress({ signal: abort.signal }))).rejects.toMatchObject({
        code: 'cancelled',
      })
      expect(await subject.residue()).toEqual([])
      const { id } = await driver.create(specOf(subject.layer, top.blob), none)
      expect(await ls(id)).toContain('top')
    })

    test('whose layer ends early, or is another than it says, are refused and leave nothing', async (context) => {
      const { blob } = layer(context, 'top')
      async function* half() {
        yield Buffer.alloc(blob.sizeBytes - 512)
      }
      const other = layer(context, 'other').blob
      for (const bad of [
        { ...blob, open: async () => half() },
        { ...blob, open: other.open },
      ]) {
        await expect(driver.create(specOf(subject.layer, bad), none)).rejects.toMatchObject({ name: 'CoppiceError' })
        expect(await subject.residue()).toEqual([])
      }
    })

    test('are removed when no sandbox uses them and the store has them no more', async (context) => {
      const [kept, gone, used] = [layer(context, 'kept'), layer(context, 'gone'), layer(context, 'used')]
      for (const { blob } of [kept, gone, used]) await driver.create(specOf(subject.layer, blob), none)
      for (const sandbox of await driver.list(none)) {
        if (!(await ls(sandbox.id)).includes('used')) await driver.remove(sandbox.id, none)
      }
      await driver.pruneImages((layers) => layers.includes(kept.blob.diffId), none)
      const images = await (await subject.engine.connect()).images.list([], none)
      expect(images.filter(({ RepoTags }) => RepoTags?.some((tag) => tag.startsWith('coppice.local/')))).toHaveLength(2)
    })
  })
}
