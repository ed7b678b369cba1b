import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { reusedChunks } from './reused-chunks.ts'

let dir: string
let file: FileHandle
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-chunks-'))
})
afterEach(async () => {
  await file.close()
  rmSync(dir, { recursive: true })
})

async function fileOf(bytes: Buffer): Promise<FileHandle> {
  writeFileSync(join(dir, 'file'), bytes)
  file = await open(join(dir, 'file'))
  return file
}

const sum = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

test.each([0, 1, 999, 1000, 1001, 50_000])('%i bytes come whole to a reader that is one chunk behind', async (size) => {
  const bytes = randomBytes(size)
  const hash = createHash('sha256')
  let behind: Buffer | undefined
  for await (const chunk of reusedChunks(await fileOf(bytes), 1000)) {
    if (behind) hash.update(behind)
    behind = chunk
  }
  if (behind) hash.update(behind)
  expect(hash.digest('hex')).toBe(sum(bytes))
})

test('memory does not depend on the size', async () => {
  const used = new Set<ArrayBufferLike>()
  for await (const chunk of reusedChunks(await fileOf(Buffer.alloc(100_000)), 1000)) used.add(chunk.buffer)
  expect(used.size).toBe(3)
})

test('a reader that stops leaves no read behind: the file can be closed', async () => {
  for await (const _chunk of reusedChunks(await fileOf(Buffer.alloc(100_000)), 1000)) break
})
