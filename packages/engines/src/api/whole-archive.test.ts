import { expect, test } from 'vitest'
import { DIALECTS } from '../dialect.ts'
import { wholeArchive } from './whole-archive.ts'

const END = Buffer.alloc(1024)

const pass = (...chunks: Buffer[]) =>
  Array.fromAsync(wholeArchive(from(chunks), 'GET /images/get', DIALECTS.docker), (chunk) => Buffer.from(chunk))

async function* from(chunks: Buffer[]): AsyncGenerator<Buffer> {
  yield* chunks
}

test('an archive with its end passes, however it is cut', async () => {
  const archive = Buffer.concat([Buffer.alloc(3000, 'x'), END])
  expect(Buffer.concat(await pass(archive))).toEqual(archive)
  const bytes = Array.from(archive, (byte) => Buffer.of(byte))
  expect(Buffer.concat(await pass(...bytes))).toEqual(archive)
})

test('one without its end fails after its last byte', async () => {
  const failure = { reason: 'engine_failed', message: expect.stringContaining('ended before its end') }
  await expect(pass(Buffer.alloc(3000, 'x'))).rejects.toMatchObject(failure)
  await expect(pass(Buffer.alloc(512))).rejects.toMatchObject(failure)
  await expect(pass()).rejects.toMatchObject(failure)
})

test('an error that the engine wrote in place of the rest is told in its words', async () => {
  const line = (message: string) => Buffer.from(`{"errorDetail":{"message":"${message}"},"error":"${message}"}\r\n`)
  await expect(pass(Buffer.alloc(3000, 'x'), line('open /l/layer.tar: gone'))).rejects.toMatchObject({
    reason: 'engine_failed',
    message: expect.stringContaining('open /l/layer.tar: gone'),
  })
  await expect(pass(line('write /tmp/x: no space left on device'))).rejects.toMatchObject({
    reason: 'engine_disk_full',
  })
})
