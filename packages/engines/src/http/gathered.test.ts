import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { gathered } from './gathered.ts'

const KiB = 1024

/** Pieces of the sizes given, with bytes that tell where they were. */
function pieces(sizes: number[]): Buffer[] {
  let at = 0
  return sizes.map((size) => Buffer.from(new Uint8Array(size).map(() => at++ % 251)))
}

test.each([
  [[]],
  [[1]],
  [[256 * KiB]],
  [Array.from({ length: 300 }, (_, at) => 1 + ((at * 7919) % 65_536))],
  [[700 * KiB, 3, 700 * KiB]],
  [[3000 * KiB, 5, 3000 * KiB]],
] as [number[]][])('pieces come joined, whole and in order', async (sizes) => {
  const sent = pieces(sizes)
  const lengths: number[] = []
  const hash = createHash('sha256')
  for await (const chunk of gathered(Readable.from(sent, { objectMode: false }))) {
    lengths.push(chunk.length)
    // Once more later: what it holds is the reader's until it asks for the next.
    await new Promise((resolve) => setImmediate(resolve))
    hash.update(chunk)
  }
  expect(hash.digest('hex')).toBe(createHash('sha256').update(Buffer.concat(sent)).digest('hex'))
  expect(lengths.slice(0, -1).every((length) => length === 256 * KiB)).toBe(true)
})

test('memory is used again', async () => {
  const used = new Set<ArrayBufferLike>()
  const body = Readable.from(pieces(Array.from({ length: 200 }, () => 32 * KiB)), { objectMode: false })
  for await (const chunk of gathered(body)) used.add(chunk.buffer)
  expect(used.size).toBe(4)
})

test('a body that breaks breaks the reading, after no byte that did not come', async () => {
  const body = new PassThrough()
  body.write(Buffer.alloc(300 * KiB))
  const chunks = gathered(body)
  expect((await chunks.next()).value?.length).toBe(256 * KiB)
  body.destroy(new Error('reset'))
  await expect(chunks.next()).rejects.toThrow('reset')
})

test('a body that ends without its end is broken too', async () => {
  const body = new PassThrough()
  const chunks = gathered(body)
  const first = chunks.next()
  body.destroy()
  await expect(first).rejects.toMatchObject({ code: 'ERR_STREAM_PREMATURE_CLOSE' })
})

test('a reader that is slow holds the body, and one that stops closes it', async () => {
  let given = 0
  const body = new Readable({
    highWaterMark: 64 * KiB,
    read() {
      given += 64 * KiB
      this.push(Buffer.alloc(64 * KiB))
    },
  })
  const chunks = gathered(body)
  await chunks.next()
  for (let round = 0; round < 100; round++) await new Promise((resolve) => setImmediate(resolve))
  // One chunk with the reader, three gathered, and what the body itself holds.
  expect(given).toBeLessThanOrEqual(1024 * KiB + 192 * KiB)
  const closed = once(body, 'close')
  await chunks.return(undefined)
  await closed
})
