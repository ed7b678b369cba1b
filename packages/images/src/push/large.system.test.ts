import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { ScratchFile } from './scratch-folder.ts'
import { tarAround } from './tar-around.ts'

const SIZE = 8 * 1024 ** 3 + 3
const ZEROS = Buffer.alloc(1024 ** 2)

/** Writes only what is not zero: the rest of the archive is a hole, as it is in the file. */
async function writeSparse(file: FileHandle, chunks: AsyncIterable<Buffer>): Promise<number> {
  let at = 0
  for await (const chunk of chunks) {
    if (!chunk.equals(ZEROS.subarray(0, chunk.length))) await file.write(chunk, 0, chunk.length, at)
    at += chunk.length
  }
  await file.truncate(at)
  return at
}

test('a file of more than 8 GiB is whole in its tar, to its last byte', { timeout: 300_000 }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'coppice-large-'))
  // A hole is read there without a page for each part of it: in a thirtieth of the time.
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', dir])
  onTestFinished(() => {
    execFileSync('umount', ['--lazy', dir])
    rmSync(dir, { recursive: true })
  })
  const path = join(dir, 'archive.tar')
  const handle = await open(join(dir, 'large'), 'wx+')
  await handle.write('end', SIZE - 3)
  const file = new ScratchFile(handle)
  const archive = tarAround('large.tar', SIZE, file.chunks())
  const written = await open(path, 'wx+')

  expect(await writeSparse(written, archive.chunks)).toBe(archive.sizeBytes)
  expect(execFileSync('tar', ['-tvf', path]).toString()).toMatch(new RegExp(` ${SIZE} .* large.tar\n$`))
  const { buffer } = await written.read(Buffer.alloc(6), 0, 6, 512 + SIZE - 4)
  expect(buffer.toString('latin1')).toBe('\0end\0\0')
  await written.close()
  await file.close()
})
