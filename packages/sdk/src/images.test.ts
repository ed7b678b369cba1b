import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { ARCHIVE_TAIL_BYTES, CoppiceError, type ProgressEvent, REMEMBERED_ARCHIVE_BYTES } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { BuildOptions } from './context/build.ts'
import { Coppice } from './coppice.ts'
import type { ImportOptions } from './images.ts'
import { pack } from './tar/pack.ts'
import { readTar } from './tar/read.ts'
import { FakeImages } from './testing/fake-images.ts'

let gateway: FakeImages
let client: Coppice
let scratch: string
beforeEach(async () => {
  gateway = await new FakeImages().start()
  client = new Coppice({ url: gateway.url, token: gateway.token, boundMs: 1000 })
  scratch = mkdtempSync(join(tmpdir(), 'coppice-images-'))
})
afterEach(() => {
  client.close()
  gateway.stop()
  rmSync(scratch, { recursive: true })
})

function write(files: Record<string, string>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(scratch, name)), { recursive: true })
    writeFileSync(join(scratch, name), text)
  }
}

async function namesIn(tar: Buffer): Promise<string[]> {
  const names: string[] = []
  const chunks = (async function* () {
    yield tar
  })()
  for await (const { name } of readTar(chunks)) names.push(name.toString())
  return names
}

describe('pull and push', () => {
  it('tell progress, and what was done', async () => {
    gateway.faults.set('pull', { events: [{ event: 'progress', message: 'Downloading', done: 1, total: 2 }] })
    const seen: ProgressEvent[] = []
    const image = await client.images.pull('alpine:3', { onProgress: (event) => seen.push(event) })
    expect(image).toMatchObject({ name: 'alpine:3', facts: { bytes: 7 } })
    expect(seen).toEqual([{ message: 'Downloading', done: 1, total: 2 }])
    expect(await client.images.push('app', 'container:x', { importCommand: 'load {file}' })).toEqual({
      file: '/tmp/x.tar',
    })
    expect(JSON.parse(gateway.of('push')[0]?.body.toString() ?? '')).toEqual({
      ref: 'app',
      target: 'container:x',
      importCommand: 'load {file}',
    })
  })

  it('call what was written as skopeo writes it by the reference alone', async () => {
    expect(await client.images.pull('docker://alpine')).toMatchObject({ name: 'alpine' })
  })

  it('never take a cut answer for an end', async () => {
    gateway.faults.set('pull', { cut: true })
    await expect(client.images.pull('alpine')).rejects.toMatchObject({ code: 'unavailable' })
  })

  it('are cancelled by their signal', async () => {
    gateway.faults.set('pull', { hang: true, events: [{ event: 'progress', message: 'Waiting' }] })
    const abort = new AbortController()
    const pulling = client.images.pull('alpine', { signal: abort.signal, onProgress: () => abort.abort() })
    await expect(pulling).rejects.toMatchObject({ code: 'cancelled' })
  })
})

describe('a build', () => {
  it('sends secrets in front of the context, and in its address no more than their names and sizes', async () => {
    writeFileSync(join(scratch, 'Dockerfile'), 'ARG R=r.example\nFROM $R/x')
    const secrets = { npm: 'the word', key: Buffer.from([0, 1]), none: '' }
    const { name } = await client.images.build(scratch, { secrets })
    const [call] = gateway.of('build')
    expect(call?.query.getAll('secret')).toEqual(['npm:8', 'key:2', 'none:0'])
    expect(call?.query.getAll('registry')).toEqual(['r.example'])
    expect(call?.query.toString()).not.toContain('word')
    expect(call?.body.subarray(0, 10).toString('latin1')).toBe('the word\0\x01')
    expect((call?.body.length ?? 0) % 512).toBe(10)
    expect(await client.images.build(scratch, { secrets: { npm: 'another' } })).toMatchObject({ name, cached: true })
  })

  it.each([
    [{ secrets: { 'a b': 'x' } }, 'bad_build_secret'],
    [{ secrets: { a: Buffer.alloc(500 * 1024 + 1) } }, 'build_secret_too_large'],
    [{ name: '' }, 'invalid_image_name'],
  ] as const)('of %j is refused before anything is sent: %s', async (options, reason) => {
    writeFileSync(join(scratch, 'Dockerfile'), 'FROM x')
    await expect(client.images.build(scratch, options)).rejects.toMatchObject({ reason })
    expect(gateway.calls).toEqual([])
  })

  it('sends the context once for each content, whatever the times', async () => {
    write({ Dockerfile: 'FROM x', '.dockerignore': 'secret', a: '1', secret: '2' })
    const first = await client.images.build(scratch, { buildArgs: { B: '2', A: 'x=1' } })
    expect(first).toMatchObject({ name: expect.stringMatching(/^build\/[0-9a-f]{24}$/), cached: false })
    const [call] = gateway.of('build')
    expect(call?.query.getAll('buildArg')).toEqual(['B=2', 'A=x=1'])
    expect(await namesIn(call?.body ?? Buffer.alloc(0))).toEqual(['.', './.dockerignore', './Dockerfile', './a'])

    utimesSync(join(scratch, 'a'), 1, 1)
    write({ secret: 'other' })
    expect(await client.images.build(scratch, { buildArgs: { A: 'x=1', B: '2' } })).toMatchObject({
      name: first.name,
      cached: true,
    })
    expect(gateway.of('build')).toHaveLength(1)
    expect(await client.images.build(scratch, { buildArgs: { A: 'x=1', B: '2' }, noCache: true })).toMatchObject({
      name: first.name,
      cached: false,
    })
  })

  it.each([
    ['a byte', () => write({ a: '2' }), {}],
    ['a name', () => write({ b: '' }), {}],
    ['a build argument', () => {}, { buildArgs: { A: '1' } }],
    ['a target', () => {}, { target: 'test' }],
  ])('has another name after a change of %s', async (_what, change, options) => {
    write({ Dockerfile: 'FROM x', a: '1' })
    const before = await client.images.build(scratch)
    change()
    const after = await client.images.build(scratch, options)
    expect(after.cached).toBe(false)
    expect(after.name).not.toBe(before.name)
  })

  it('passes the log on, and a failure with its facts', async () => {
    write({ Dockerfile: 'FROM x' })
    const facts = { step: 'RUN false', status: 1, lastLines: ['no'] }
    gateway.faults.set('build', {
      events: [{ event: 'log', line: 'Step 1/1 : RUN false' }],
      error: new CoppiceError('failed_precondition', 'build_failed', 'The build failed.', { facts }),
    })
    const log: string[] = []
    const building = client.images.build(scratch, { name: 'app', onLog: (line) => log.push(line) })
    await expect(building).rejects.toMatchObject({ reason: 'build_failed', facts })
    expect(log).toEqual(['Step 1/1 : RUN false'])
  })

  it('is cut off when the context changes while it is sent, so that nothing has a wrong name', async () => {
    write({ Dockerfile: 'FROM x', a: '1' })
    const building = client.images.build(scratch, {
      onProgress: ({ message, done }) => {
        if (message === 'Sending the context' && done === 0) write({ a: '2' })
      },
    })
    await expect(building).rejects.toMatchObject({ reason: 'context_changed' })
    expect(gateway.names).toEqual(new Set(['base']))
  })

  it('ends at once when it is refused, however much is left to send', async () => {
    write({ Dockerfile: 'FROM x' })
    writeFileSync(join(scratch, 'big'), Buffer.alloc(64 * 1024 * 1024))
    gateway.faults.set('build', { refuse: new CoppiceError('unsupported', 'no_builder', 'There is no engine.') })
    let sent = 0
    const onProgress = ({ done = 0 }: ProgressEvent) => {
      sent = done
    }
    await expect(client.images.build(scratch, { name: 'app', onProgress })).rejects.toMatchObject({
      reason: 'no_builder',
    })
    expect(sent).toBeLessThan(64 * 1024 * 1024)
  })

  it('takes a Dockerfile from elsewhere, or as text, under a name that its content gives it', async () => {
    write({ 'app/a': 'a', 'D.prod': 'FROM x', 'other/D': 'FROM x' })
    const folder = join(scratch, 'app')
    const build = async (options: BuildOptions) => {
      const { name } = await client.images.build(folder, options)
      return { name, request: gateway.of('build').at(-1) }
    }
    const { name, request } = await build({ dockerfile: '../D.prod' })
    expect(request?.query.get('dockerfile')).toMatch(/^\.dockerfile\.[0-9a-f]{20}$/)
    expect(request?.body.includes('FROM x')).toBe(true)
    // The same bytes are the same Dockerfile, wherever they are.
    expect((await build({ dockerfile: join(scratch, 'other/D') })).name).toBe(name)
    expect((await build({ dockerfileText: 'FROM x' })).name).toBe(name)
    expect(gateway.of('build')).toHaveLength(1)
    expect((await build({ dockerfileText: 'FROM y' })).name).not.toBe(name)
  })

  it('wants a Dockerfile', async () => {
    await expect(client.images.build(scratch)).rejects.toMatchObject({ reason: 'dockerfile_not_found' })
    await expect(client.images.build(join(scratch, 'none'))).rejects.toMatchObject({ reason: 'local_file_not_found' })
  })
})

function catching(work: () => void): string | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  }
}

describe('an import', () => {
  it('is called like its file when nothing else says how', async () => {
    write({ 'My App.tar': 'x' })
    expect(await client.images.importPath(join(scratch, 'My App.tar'))).toMatchObject({ name: 'my-app' })
    gateway.archiveName = 'inside:1'
    expect(await client.images.importPath(join(scratch, 'My App.tar'))).toMatchObject({ name: 'inside:1' })
    expect(gateway.of('import')[0]?.body.toString()).toBe('x')
  })

  describe('of a large file', () => {
    const path = () => join(scratch, 'large.tar')
    const text = 'x'.repeat(REMEMBERED_ARCHIVE_BYTES + 1)
    const bring = async (options: ImportOptions = {}) => {
      const known: boolean[] = []
      const image = await client.images.importPath(path(), { ...options, onKnown: (is) => known.push(is) })
      return { image, known }
    }
    beforeEach(() => write({ 'large.tar': text }))

    it('that the gateway has imported before sends nothing', async () => {
      gateway.knownArchive = `sha256:${createHash('sha256').update(text).digest('hex')}`
      const seen: ProgressEvent[] = []
      const { image, known } = await bring({ name: 'mine', onProgress: (event) => seen.push(event) })
      expect(image).toMatchObject({ name: 'mine', facts: { bytes: 0, blobs: 0, known: true } })
      expect(known).toEqual([true])
      expect(gateway.of('import')).toEqual([])
      const tail = createHash('sha256').update(text.slice(-ARCHIVE_TAIL_BYTES)).digest('hex')
      const question = JSON.parse(gateway.of('known')[0]?.body.toString() ?? '')
      expect(question).toMatchObject({ size: text.length, tail, format: 'auto', fallbackName: 'large', name: 'mine' })
      expect(seen).toContainEqual({
        message: 'Comparing the archive',
        done: text.length,
        total: text.length,
        unit: 'bytes',
      })
    })

    it('that only looks like one it has imported is sent', async () => {
      gateway.knownArchive = `sha256:${'0'.repeat(64)}`
      const { image, known } = await bring()
      expect(image.facts).toEqual({})
      expect(known).toEqual([false])
      expect(gateway.of('import')[0]?.body.length).toBe(text.length)
    })

    it('is sent to a gateway that is too old to be asked', async () => {
      await bring()
      expect(gateway.of('known')).toHaveLength(1)
      expect(gateway.of('import')[0]?.body.length).toBe(text.length)
    })

    it('that is cancelled while it is compared sends nothing', async () => {
      gateway.knownArchive = `sha256:${'0'.repeat(64)}`
      const cancel = new AbortController()
      const onProgress = () => cancel.abort()
      await expect(bring({ signal: cancel.signal, onProgress })).rejects.toMatchObject({ code: 'cancelled' })
      expect(gateway.of('import')).toEqual([])
    })
  })

  it.each([
    ['a.tar', 'docker-archive:FILE:a:1', (path: string) => `docker-archive:${path}:a:1`],
    ['$& FILE.xz', 'xz -dc FILE | coppice image import -', (path: string) => `xz -dc ${path} | coppice image import -`],
  ])('that is refused is told by the name that %s has here', async (file, hint, own) => {
    write({ [file]: 'x' })
    gateway.faults.set('import', { error: new CoppiceError('invalid_argument', 'r', 'No.', { hint, facts: { a: 1 } }) })
    const path = join(scratch, file)
    const expected = { reason: 'r', message: 'No.', hint: own(path), facts: { a: 1 } }
    await expect(client.images.importPath(path)).rejects.toMatchObject(expected)
  })

  it('from a fifo takes what is written to it', async () => {
    const fifo = join(scratch, 'fifo')
    execFileSync('mkfifo', [fifo])
    const writing = writeFile(fifo, 'x'.repeat(200_000))
    expect(await client.images.importPath(fifo)).toMatchObject({ name: 'fifo' })
    await writing
    expect(gateway.of('import')[0]?.body.toString()).toBe('x'.repeat(200_000))
  })

  it('from a fifo to which nobody writes can be cancelled, and nothing waits for it any more', async () => {
    const fifo = join(scratch, 'fifo')
    execFileSync('mkfifo', [fifo])
    const importing = client.images.importPath(fifo, { signal: AbortSignal.timeout(50) })
    await expect(importing).rejects.toMatchObject({ code: 'cancelled' })
    const write = () => closeSync(openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK))
    // ENXIO: nobody reads.
    expect(catching(write)).toBe('ENXIO')
  })

  it('of a layout folder that is refused is told as one', async () => {
    write({ 'layout/oci-layout': '{}' })
    const hint = 'oci-archive:FILE:a:1'
    gateway.faults.set('import', { error: new CoppiceError('invalid_argument', 'r', 'No.', { hint }) })
    const path = join(scratch, 'layout')
    await expect(client.images.importPath(path)).rejects.toMatchObject({ hint: `oci:${path}:a:1` })
  })

  it.each([
    ['Dockerfile', ''],
    ['Dockerfile.prod', ' --file PATH'],
    ['web.Dockerfile', ' --file PATH'],
    ['Containerfile', ' --file PATH'],
  ])('of %s names the folder that it builds', async (file, how) => {
    write({ [file]: 'FROM x' })
    gateway.faults.set('import', { error: new CoppiceError('invalid_argument', 'not_an_archive', 'This is no tar.') })
    const path = join(scratch, file)
    await expect(client.images.importPath(path)).rejects.toMatchObject({
      reason: 'not_an_archive',
      message: `${path} is no archive. A Dockerfile is built from the folder that it is in: ${scratch}.`,
      hint: `coppice image build ${scratch}${how.replace('PATH', path)}`,
    })
  })

  it('takes an OCI layout as the archive that it would be', async () => {
    write({ 'layout/oci-layout': '{}', 'layout/index.json': '{}', 'layout/blobs/sha256/00': 'x' })
    await client.images.importPath({ kind: 'oci', path: join(scratch, 'layout'), reference: 'app:1' })
    const [call] = gateway.of('import')
    expect(Object.fromEntries(call?.query ?? [])).toEqual({
      ref: 'app:1',
      fallbackName: 'layout',
      format: 'oci-archive',
    })
    expect(await namesIn(call?.body ?? Buffer.alloc(0))).toContain('./blobs/sha256/00')
  })

  it('that is not read to its end does not look complete', async () => {
    const source = (async function* () {
      yield 'half'
      throw new Error('gone')
    })()
    await expect(client.images.import(source)).rejects.toThrow('gone')
    expect(gateway.names).toEqual(new Set(['base']))
  })
})

describe('an export', () => {
  const entry = (name: string) => ({ annotations: { 'org.opencontainers.image.ref.name': name } })

  async function archiveOf(name: string, blob: string): Promise<void> {
    write({
      'made/oci-layout': '{}',
      'made/index.json': JSON.stringify({ manifests: [entry(name)] }),
      [`made/blobs/sha256/${blob}`]: blob,
    })
    const chunks: Buffer[] = []
    for await (const chunk of pack(join(scratch, 'made'))) chunks.push(chunk)
    rmSync(join(scratch, 'made'), { recursive: true })
    gateway.archive = Buffer.concat(chunks)
  }

  it('goes into a layout beside what is there', async () => {
    const path = join(scratch, 'layout')
    for (const [name, blob] of [
      ['a', '01'],
      ['b', '02'],
      ['a', '03'],
    ] as const) {
      await archiveOf(name, blob)
      await client.images.exportPath(name, { kind: 'oci', path })
    }
    expect(JSON.parse(readFileSync(join(path, 'index.json'), 'utf8'))).toEqual({ manifests: [entry('b'), entry('a')] })
    expect(readdirSync(join(path, 'blobs/sha256'))).toEqual(['01', '02', '03'])
    expect(readdirSync(scratch)).toEqual(['layout'])
  })

  it('leaves a folder of something else as it was', async () => {
    write({ 'folder/precious': '' })
    await archiveOf('a', '01')
    await expect(client.images.exportPath('a', { kind: 'oci', path: join(scratch, 'folder') })).rejects.toMatchObject({
      reason: 'target_exists',
    })
    expect(readdirSync(join(scratch, 'folder'))).toEqual(['precious'])
  })

  it.each(['oci', 'file', 'docker-archive'] as const)('to %s that is cut off leaves nothing', async (kind) => {
    await archiveOf('a', '01')
    gateway.faults.set('export', { cut: true })
    const exporting = client.images.exportPath('a', { kind, path: join(scratch, 'x') })
    await expect(exporting).rejects.toMatchObject({ code: 'unavailable' })
    expect(readdirSync(scratch)).toEqual([])
  })

  it('has its bytes and the name that was asked for', async () => {
    await archiveOf('a', '01')
    const path = join(scratch, 'a.tar')
    const written = await client.images.exportPath('a', { kind: 'docker-archive', path, reference: 'b:1' })
    expect(written).toEqual({ path, bytes: gateway.archive.length })
    expect(readFileSync(path).equals(gateway.archive)).toBe(true)
    expect(Object.fromEntries(gateway.of('export')[0]?.query ?? [])).toEqual({
      ref: 'a',
      format: 'docker-archive',
      name: 'b:1',
    })
  })
})

it('prune says what went', async () => {
  expect(await client.images.prune()).toEqual({ images: 1, blobs: 2, layers: 0, partials: 0, bytes: 2048 })
})
