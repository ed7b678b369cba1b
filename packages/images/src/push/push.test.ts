import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type PushSource, type PushTarget, pushInto } from './push.ts'
import { ScratchFolder } from './scratch-folder.ts'
import { watched } from './stall.ts'
import { tarAround } from './tar-around.ts'

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

/** What GNU tar makes of an archive. */
async function listed(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const tar = spawn('tar', ['-tv', '--numeric-owner'], { stdio: ['pipe', 'pipe', 'inherit'] })
  let output = ''
  tar.stdout.on('data', (text) => {
    output += text
  })
  for await (const chunk of chunks) if (!tar.stdin.write(chunk)) await once(tar.stdin, 'drain')
  tar.stdin.end()
  expect(await once(tar, 'close')).toEqual([0, null])
  return output
}

describe('a tar around a file', () => {
  test.each([0, 1, 511, 512, 513, 1024, 1_000_000])('of %i bytes is as long as said, and whole', async (size) => {
    const archive = tarAround('image.tar', size, bytes(size))
    const tar = await collect(archive.chunks)
    expect(tar.length).toBe(archive.sizeBytes)
    expect(tar.length % 512).toBe(0)
    expect(tar.subarray(512, 512 + size)).toEqual(await collect(bytes(size)))
    expect(tar.subarray(-1024)).toEqual(Buffer.alloc(1024))
    async function* whole() {
      yield tar
    }
    expect(await listed(whole())).toMatch(new RegExp(` 0/0 +${size} .* image.tar\n$`))
  })

  test('of more than 8 GiB has a size that tar reads', async () => {
    const size = 9 * 1024 ** 3 + 1
    const { chunks } = tarAround('big', size, (async function* () {})())
    const header = (await chunks.next()).value as Buffer
    expect(header.subarray(124, 136)).toEqual(Buffer.from([0x80, 0, 0, 0, 0, 0, 0, 2, 0x40, 0, 0, 1]))
    await chunks.return(undefined)
  })

  test.each([-1, 1])('whose content turns out %i byte off never looks whole', async (off) => {
    const archive = tarAround('image.tar', 5000, bytes(5000 + off))
    const got: Buffer[] = []
    await expect(
      (async () => {
        for await (const chunk of archive.chunks) got.push(chunk)
      })(),
    ).rejects.toMatchObject({ reason: 'source_changed' })
    expect(Buffer.concat(got).length).toBeLessThan(archive.sizeBytes - 1024)
  })
})

/** A container that is a folder here. */
class FolderTarget implements PushTarget {
  name = 'box'
  free: number | null = null
  ran: string[] = []
  runs = async (_command: string) => ({ exitCode: 0, output: 'unpacked' })

  async freeBytes(): Promise<number | null> {
    return this.free
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
  const warnings: string[] = []
  const unsized = (open: PushSource['open'] = () => bytes(SIZE)): PushSource => ({
    name: 'app:1',
    estimateBytes: SIZE,
    open,
  })

  beforeEach(async () => {
    const { mkdirSync } = await import('node:fs')
    mkdirSync(join(dir, 'box/tmp'), { recursive: true })
    target = new FolderTarget()
    scratch = await ScratchFolder.open(join(dir, 'scratch'), (message) => warnings.push(message), {})
  })

  test('without an import leaves the file, byte for byte, and no scratch file', async () => {
    const pushed = await pushInto(unsized(), target, { folder: '/tmp', scratch }, Progress.none())
    expect(pushed).toEqual({ file: '/tmp/app-1.tar', sizeBytes: SIZE, output: '' })
    expect(readFileSync(join(dir, 'box/tmp/app-1.tar'))).toEqual(await collect(bytes(SIZE)))
    expect(readdirSync(scratch.dir)).toEqual([])
  })

  test('with an import gives it the file, and takes the file away after it', async () => {
    target.runs = async (command) => ({
      exitCode: 0,
      output: String(readFileSync(join(dir, 'box', command.split(' ')[1] ?? '')).length),
    })
    const options = { importCommand: 'import {file}', scratch }
    expect(await pushInto(unsized(), target, options, Progress.none())).toEqual({
      file: null,
      sizeBytes: SIZE,
      output: `${SIZE}`,
    })
    expect(target.files).toEqual([])
  })

  test('whose import fails says how it ended, and leaves nothing', async () => {
    target.runs = async () => ({ exitCode: 3, output: 'no space in snapshotter' })
    const failed = pushInto(unsized(), target, { importCommand: 'import {file}', scratch }, Progress.none())
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
    await expect(pushInto(source, target, { folder: '/tmp', scratch }, Progress.none())).rejects.toThrow('went away')
    const sized: PushSource = { name: 'x', sizeBytes: SIZE, open: source.open }
    await expect(pushInto(sized, target, { folder: '/tmp', scratch }, Progress.none())).rejects.toThrow('went away')
    expect([target.files, readdirSync(scratch.dir)]).toEqual([[], []])
  })

  test('of known size needs no scratch file', async () => {
    const source: PushSource = { name: 'x', sizeBytes: SIZE, open: () => bytes(SIZE) }
    rmSync(scratch.dir, { recursive: true })
    expect((await pushInto(source, target, { folder: '/tmp', scratch }, Progress.none())).sizeBytes).toBe(SIZE)
  })

  test('for which there is no room is refused with both figures, before the export starts', async () => {
    target.free = 1000
    let opened = false
    const source = unsized(() => {
      opened = true
      return bytes(SIZE)
    })
    const refused = pushInto(source, target, { folder: '/tmp', scratch }, Progress.none())
    await expect(refused).rejects.toMatchObject({ reason: 'no_room', facts: { neededBytes: SIZE, freeBytes: 1000 } })
    expect(opened).toBe(false)
  })

  test('that is cancelled leaves nothing', async () => {
    const abort = new AbortController()
    const progress = new Progress({
      signal: abort.signal,
      onEvent: ({ message }) => message.startsWith('Sending') && abort.abort(),
    })
    await expect(pushInto(unsized(), target, { folder: '/tmp', scratch }, progress)).rejects.toMatchObject({
      code: 'cancelled',
    })
    expect([target.files, readdirSync(scratch.dir)]).toEqual([[], []])
  })
})

test('a scratch folder sweeps what killed processes left, and nothing else', async () => {
  writeFileSync(join(dir, 'transfer-1-x'), 'left')
  writeFileSync(join(dir, 'theirs'), 'not ours')
  await ScratchFolder.open('/nonexistent', () => {}, { COPPICE_SCRATCH_DIR: dir })
  expect(readdirSync(dir)).toEqual(['theirs'])
})

test('a source that says nothing is cut, and one whose reader is slow is not', async () => {
  const silent = (async function* () {
    yield 1
    await new Promise(() => {})
  })()
  await expect(Array.fromAsync(watched(silent, 20, 'The export'))).rejects.toMatchObject({ reason: 'transfer_stalled' })
  const quick = (async function* () {
    yield 1
    yield 2
  })()
  const got: number[] = []
  for await (const value of watched(quick, 20, 'The export')) {
    got.push(value)
    const { promise, resolve } = Promise.withResolvers<void>()
    setTimeout(resolve, 60)
    await promise
  }
  expect(got).toEqual([1, 2])
})
