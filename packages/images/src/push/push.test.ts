import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CoppiceError, Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ExportedSource, type PushSource, type PushTarget, pushInto } from './push.ts'
import type { Space } from './room.ts'
import { ScratchFolder } from './scratch-folder.ts'
import { StagedFiles } from './staged-files.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-push-'))
})
afterEach(() => rmSync(dir, { recursive: true }))

async function* bytes(size: number, chunkBytes = 65_536): AsyncGenerator<Buffer> {
  const chunk = Buffer.alloc(chunkBytes, 'coppice')
  for (let left = size; left > 0; left -= chunkBytes) yield chunk.subarray(0, Math.min(left, chunkBytes))
}

const collect = async (chunks: AsyncIterable<Uint8Array>) =>
  Buffer.concat(await Array.fromAsync(chunks, (chunk) => Buffer.from(chunk)))

/** A container that is a folder here. */
class FolderTarget implements PushTarget {
  name = 'box'
  id = 'box'
  room: Space | null = null
  ran: string[] = []
  removed: string[] = []
  runs = async (_command: string) => ({ exitCode: 0, output: 'unpacked' })

  unfitFolders: string[] = []

  async unfit(folder: string): Promise<CoppiceError | undefined> {
    if (!this.unfitFolders.includes(folder)) return undefined
    return new CoppiceError('failed_precondition', 'folder_hidden', `${folder} is hidden.`)
  }

  async space(): Promise<Space | null> {
    return this.room
  }

  async put(folder: string, sizeBytes: number, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const tar = spawn('tar', ['-x', '-C', join(dir, 'box', folder)], { stdio: ['pipe', 'inherit', 'inherit'] })
    let passed = 0
    try {
      for await (const chunk of chunks) {
        passed += chunk.length
        if (!tar.stdin.write(chunk)) await once(tar.stdin, 'drain')
      }
      expect(passed).toBe(sizeBytes)
    } finally {
      tar.stdin.end()
      await once(tar, 'close')
    }
  }

  async run(command: string): Promise<{ exitCode: number; output: string }> {
    this.ran.push(command)
    return this.runs(command)
  }

  async remove(path: string): Promise<void> {
    this.removed.push(path)
    rmSync(join(dir, 'box', path), { force: true })
  }

  get files(): string[] {
    return readdirSync(join(dir, 'box', 'tmp'))
  }
}

describe('a push', () => {
  const SIZE = 3_000_001
  let target: FolderTarget
  let scratch: ScratchFolder
  let staged: StagedFiles
  const unsized = (open: PushSource['open'] = () => bytes(SIZE)): ExportedSource => ({
    name: 'app:1',
    estimateBytes: SIZE,
    open,
    alive: async () => true,
  })
  const free = (freeBytes: number): Space => ({ freeBytes, totalBytes: 1e9, device: -1 })

  beforeEach(async () => {
    mkdirSync(join(dir, 'box/tmp'), { recursive: true })
    target = new FolderTarget()
    scratch = await ScratchFolder.open(join(dir, 'scratch'), () => {}, {})
    staged = await StagedFiles.open(join(dir, 'staged'))
  })

  test('without an import leaves the file, byte for byte, and no scratch file', async () => {
    const pushed = await pushInto(unsized(), target, { folder: '/tmp', scratch, staged }, Progress.none())
    expect(pushed).toEqual({ file: '/tmp/app-1.tar', sizeBytes: SIZE, output: '' })
    expect(readFileSync(join(dir, 'box/tmp/app-1.tar'))).toEqual(await collect(bytes(SIZE)))
    expect(readdirSync(scratch.dir)).toEqual([])
  })

  test('with an import gives it the file, and takes the file away after it', async () => {
    target.runs = async (command) => ({
      exitCode: 0,
      output: String(readFileSync(join(dir, 'box', command.split(' ')[1] ?? '')).length),
    })
    const options = { importCommand: 'import {file}', scratch, staged }
    expect(await pushInto(unsized(), target, options, Progress.none())).toEqual({
      file: null,
      sizeBytes: SIZE,
      output: `${SIZE}`,
    })
    expect(target.files).toEqual([])
  })

  test('waits for its import where the container sees it, and goes nowhere else when a folder was named', async () => {
    mkdirSync(join(dir, 'box/var/tmp'), { recursive: true })
    target.unfitFolders = ['/tmp']
    await pushInto(unsized(), target, { importCommand: 'import {file}', scratch, staged }, Progress.none())
    expect(target.ran).toEqual([expect.stringMatching(/^import \/var\/tmp\/coppice-\w+\.tar$/)])
    const named = pushInto(unsized(), target, { folder: '/tmp', scratch, staged }, Progress.none())
    await expect(named).rejects.toMatchObject({ reason: 'folder_hidden' })
    expect(readdirSync(join(dir, 'box/var/tmp'))).toEqual([])
  })

  test('whose import fails says how it ended, and leaves nothing', async () => {
    target.runs = async () => ({ exitCode: 3, output: 'no space in snapshotter' })
    const failed = pushInto(unsized(), target, { importCommand: 'import {file}', scratch, staged }, Progress.none())
    await expect(failed).rejects.toMatchObject({
      reason: 'import_failed',
      facts: { exitCode: 3, output: 'no space in snapshotter' },
    })
    expect(target.files).toEqual([])
  })

  test('of a source that breaks half-way leaves nothing on either side', async () => {
    const source = unsized(async function* () {
      yield Buffer.alloc(1000)
      throw new Error('the engine went away')
    })
    await expect(pushInto(source, target, { folder: '/tmp', scratch, staged }, Progress.none())).rejects.toThrow(
      'went away',
    )
    const sized: PushSource = { name: 'x', sizeBytes: SIZE, open: source.open }
    await expect(pushInto(sized, target, { folder: '/tmp', scratch, staged }, Progress.none())).rejects.toThrow(
      'went away',
    )
    expect([target.files, readdirSync(scratch.dir)]).toEqual([[], []])
  })

  test('of known size needs no scratch file', async () => {
    const source: PushSource = { name: 'x', sizeBytes: SIZE, open: () => bytes(SIZE) }
    rmSync(scratch.dir, { recursive: true })
    expect((await pushInto(source, target, { folder: '/tmp', scratch, staged }, Progress.none())).sizeBytes).toBe(SIZE)
  })

  test('for which there is no room is refused with both figures, before the export starts', async () => {
    target.room = free(1000)
    let opened = false
    const source = unsized(() => {
      opened = true
      return bytes(SIZE)
    })
    const refused = pushInto(source, target, { folder: '/tmp', scratch, staged }, Progress.none())
    await expect(refused).rejects.toMatchObject({ reason: 'no_room', facts: { neededBytes: SIZE, freeBytes: 1000 } })
    expect(opened).toBe(false)
  })

  test('whose export is larger than the engine had said is refused before anything is sent', async () => {
    target.room = free(SIZE - 1)
    const source = { ...unsized(), estimateBytes: 10 }
    const refused = pushInto(source, target, { folder: '/tmp', scratch, staged }, Progress.none())
    await expect(refused).rejects.toMatchObject({ reason: 'no_room', facts: { neededBytes: SIZE } })
    expect([target.files, target.removed]).toEqual([[], []])
  })

  test('into what becomes full on the way says so with both figures, and takes half the file away', async () => {
    target.put = async () => {
      writeFileSync(join(dir, 'box/tmp/app-1.tar'), 'half')
      target.room = free(2000)
      throw new CoppiceError('resource_exhausted', 'engine_disk_full', 'no space left on device')
    }
    const failed = pushInto(unsized(), target, { folder: '/tmp', scratch, staged }, Progress.none())
    await expect(failed).rejects.toMatchObject({
      reason: 'no_room',
      facts: { where: 'box:/tmp', neededBytes: SIZE, freeBytes: 2000 },
      hint: 'coppice image push … box:/a/folder/with/room',
    })
    expect(target.files).toEqual([])
  })

  test('reads no further ahead than a MiB when nothing is taken', async () => {
    let read = 0
    async function* endless() {
      for (;;) {
        const chunk = Buffer.alloc(65_536)
        read += chunk.length
        yield chunk
      }
    }
    const abort = new AbortController()
    let ahead = 0
    target.put = async (_folder, _size, chunks) => {
      const iterator = chunks[Symbol.asyncIterator]()
      await iterator.next()
      await iterator.next()
      // Whoever reads ahead does it without being asked.
      for (let round = 0; round < 100; round++) await new Promise((resolve) => setImmediate(resolve))
      ahead = read
      abort.abort()
      await iterator.next()
    }
    const source: PushSource = { name: 'x', sizeBytes: 1024 ** 3, open: endless }
    const pushed = pushInto(source, target, { folder: '/tmp', scratch, staged }, new Progress({ signal: abort.signal }))
    await expect(pushed).rejects.toMatchObject({ code: 'cancelled' })
    expect(ahead).toBeGreaterThan(0)
    expect(ahead).toBeLessThanOrEqual(1024 ** 2)
  })

  test('is noted while its file is in the container, for whoever comes after a kill', async () => {
    const left = async () =>
      (await StagedFiles.open(join(dir, 'staged'))).left.map(({ target, path }) => [target, path])
    const seen: unknown[] = []
    target.runs = async (command) => {
      seen.push([await left(), command.split(' ')[1]])
      return { exitCode: 0, output: '' }
    }
    const options = { importCommand: 'import {file}', scratch, staged }
    await pushInto(unsized(), target, options, Progress.none())
    expect(seen).toEqual([[[['box', target.removed[0]]], target.removed[0]]])
    expect(await left()).toEqual([])
    target.remove = async () => Promise.reject(new Error('the engine is gone'))
    await pushInto(unsized(), target, options, Progress.none())
    expect(await left()).toHaveLength(1)
  })

  test('that is cancelled leaves nothing', async () => {
    const abort = new AbortController()
    const progress = new Progress({
      signal: abort.signal,
      onEvent: ({ message }) => message.startsWith('Sending') && abort.abort(),
    })
    await expect(pushInto(unsized(), target, { folder: '/tmp', scratch, staged }, progress)).rejects.toMatchObject({
      code: 'cancelled',
    })
    expect([target.files, readdirSync(scratch.dir)]).toEqual([[], []])
  })
})
