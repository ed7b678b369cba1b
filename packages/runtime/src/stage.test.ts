import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type StagedRuntime, stageRuntime } from './stage.ts'

const run = promisify(execFile)

describe('stageRuntime', () => {
  let folder: string
  let entry: string
  let first: StagedRuntime
  const stage = (cacheDir: string, flags: string[] = []) => stageRuntime({ cacheDir, entry, flags })

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'coppice-runtime-'))
    entry = join(folder, 'entry.ts')
    await writeFile(entry, 'const text: string = process.version\nconsole.log(text)\n')
    first = await stage(join(folder, 'a'))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  test('starts Node through the loader and libraries of the bundle', async () => {
    const arguments_ = [
      '--library-path',
      join(first.dir, 'lib'),
      join(first.dir, 'coppice-supervisor'),
      join(first.dir, 'supervisor.mjs'),
    ]
    const { stdout } = await run(join(first.dir, 'ld.so'), arguments_, { env: {} })
    expect(stdout.trim()).toMatch(/^v\d+\.\d+\.\d+$/)
  })

  test('starts setpriv, busybox and tini of the bundle', async () => {
    const loader = ['--library-path', join(first.dir, 'lib'), join(first.dir, 'setpriv')]
    expect((await run(join(first.dir, 'ld.so'), [...loader, '--version'])).stdout).toContain('setpriv')
    expect((await run(join(first.dir, 'busybox'), ['echo', 'hello'])).stdout).toBe('hello\n')
    expect((await run(join(first.dir, 'tini'), ['--version'])).stdout).toContain('tini')
  })

  test('opens a terminal with the bundled node-pty', async () => {
    const script = join(folder, 'pty-entry.mjs')
    const source = `import pty from '@lydell/node-pty'
      pty.spawn('/bin/sh', ['-c', 'tty'], {}).onData((text) => process.stdout.write(text))`
    await writeFile(script, source)
    const bundle = await stageRuntime({ cacheDir: join(folder, 'a'), entry: script, flags: [] })
    const loader = ['--library-path', join(bundle.dir, 'lib'), join(bundle.dir, 'coppice-supervisor')]
    expect((await run(join(bundle.dir, 'ld.so'), [...loader, join(bundle.dir, 'supervisor.mjs')])).stdout).toMatch(
      /^\/dev\/pts\/\d+/,
    )
  })

  test('gives the same digest for the same inputs in another folder', async () => {
    expect((await stage(join(folder, 'b'))).digest).toBe(first.digest)
  })

  test('gives another digest for another entry or other flags', async () => {
    expect((await stage(join(folder, 'a'), ['--no-opt'])).digest).not.toBe(first.digest)
  })

  test('finds an unchanged bundle again without staging', async () => {
    const looks = async () => {
      const { ino, mtimeMs, ctimeMs } = await stat(join(folder, 'a'))
      return { names: await readdir(join(folder, 'a')), ino, mtimeMs, ctimeMs }
    }
    const before = await looks()
    expect(await stage(join(folder, 'a'))).toEqual(first)
    // Whatever is made in between, also what is gone again, shows in the times of the folder.
    expect(await looks()).toEqual(before)
  })

  test('gives the same digest when an input was only touched', async () => {
    const later = new Date(Date.now() - 1000)
    await utimes(entry, later, later)
    expect((await stage(join(folder, 'a'))).digest).toBe(first.digest)
  })

  test('stages again when a source has changed', async () => {
    const text = await readFile(entry, 'utf8')
    await writeFile(entry, `${text}console.log('more')\n`)
    const changed = await stage(join(folder, 'a'))
    expect(changed.digest).not.toBe(first.digest)
    await writeFile(entry, text)
  })

  test('repairs a damaged bundle', async () => {
    const bundle = await stage(join(folder, 'b'))
    await truncate(join(bundle.dir, 'busybox'), 10)
    expect((await stage(join(folder, 'b'))).digest).toBe(bundle.digest)
    expect((await run(join(bundle.dir, 'busybox'), ['echo', 'whole'])).stdout).toBe('whole\n')
  })

  test('lets several processes stage at once and leaves one bundle', async () => {
    const cacheDir = join(folder, 'c')
    const script = `import { stageRuntime } from ${JSON.stringify(join(import.meta.dirname, 'stage.ts'))}
      console.log((await stageRuntime(${JSON.stringify({ cacheDir, entry, flags: [] })})).digest)`
    const staged = [1, 2, 3].map(() => run(process.execPath, ['--input-type=module', '-e', script]))
    const digests = (await Promise.all(staged)).map(({ stdout }) => stdout.trim())
    expect(new Set(digests).size).toBe(1)
    const names = await readdir(cacheDir)
    expect(names.filter((name) => !/^\.stamp-\w+\.json$/.test(name))).toEqual([digests[0]])
  })

  test('leaves nothing when the entry cannot be bundled', async () => {
    const broken = join(folder, 'broken.ts')
    await writeFile(broken, 'import "nothing-of-this-name"\n')
    const cacheDir = join(folder, 'd')
    const error = await stageRuntime({ cacheDir, entry: broken, flags: [] }).catch((cause: unknown) => cause)
    expect(error).toMatchObject({ code: 'internal', reason: 'supervisor_bundle_failed' })
    expect(await readdir(cacheDir)).toEqual([])
  })

  test('refuses a machine that it cannot stage for, with a typed error', async () => {
    const foreign = process.arch === 'x64' ? 'arm64' : 'x64'
    const error = await stageRuntime({ cacheDir: join(folder, 'e'), entry, flags: [], arch: foreign }).catch(
      (cause: unknown) => cause,
    )
    expect(error).toMatchObject({ code: 'unsupported', reason: 'foreign_architecture' })
  })

  test('holds nothing that answers to the name node', async () => {
    const programs = (await readdir(first.dir)).filter((name) => name !== 'node_modules')
    expect(programs.filter((name) => name.includes('node'))).toEqual([])
  })
})
