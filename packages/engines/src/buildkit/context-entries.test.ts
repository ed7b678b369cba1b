import { buildTar, type TestEntry } from '@coppice/images/testing'
import { expect, test } from 'vitest'
import { ContextEntries } from './context-entries.ts'

async function* inPieces(tar: Buffer, bytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < tar.length; at += bytes) yield tar.subarray(at, at + bytes)
}

async function read(tar: Buffer, bytes = 100): Promise<[string, string, string][]> {
  const entries = new ContextEntries(inPieces(tar, bytes))
  const found: [string, string, string][] = []
  for (;;) {
    const entry = await entries.next()
    if (!entry) return found
    const content = Buffer.concat(await Array.fromAsync(entries.content())).toString()
    found.push([entry.name.toString(), entry.type, content || entry.link.toString()])
  }
}

const longName = (type: string, name: string): TestEntry => ({ name: '././@LongLink', type, body: `${name}\0` })

test.each([1, 511, 512, 513, 1 << 20])('entries and what they hold, in pieces of %d bytes', async (bytes) => {
  const long = 'l'.repeat(300)
  const tar = buildTar([
    { name: './', type: '5' },
    { name: './a', body: 'x'.repeat(512) },
    longName('K', `./${long}`),
    longName('L', `./${long}`),
    { name: './llll', type: '2' },
    { name: './z', body: 'end' },
  ])
  expect(await read(tar, bytes)).toEqual([
    ['', '5', ''],
    ['a', '0', 'x'.repeat(512)],
    [long, '2', `./${long}`],
    ['z', '0', 'end'],
  ])
})

test('what is not read of an entry is skipped, and the source is read to its end', async () => {
  const tar = buildTar([
    { name: 'a', body: 'x'.repeat(10_000) },
    { name: 'b', body: 'y' },
  ])
  let ended = false
  async function* source() {
    yield* inPieces(tar, 1000)
    ended = true
  }
  const entries = new ContextEntries(source())
  await entries.next()
  expect((await entries.next())?.name.toString()).toBe('b')
  await entries.readRest()
  expect(ended).toBe(true)
})

test.each<[string, Buffer]>([
  ['is cut in a header', buildTar([{ name: 'a', body: 'x' }]).subarray(0, 300)],
  ['is cut in a file', buildTar([{ name: 'a', body: 'x'.repeat(2000) }]).subarray(0, 1000)],
  ['has no end', buildTar([{ name: 'a' }], { end: false })],
  ['leads out of itself', buildTar([{ name: '../a' }])],
  ['begins at the root', buildTar([{ name: '/a' }])],
  ['holds a device', buildTar([{ name: 'a', type: '3' }])],
  ['has a name of megabytes', buildTar([longName('L', 'x'.repeat(100_000)), { name: 'a' }])],
  ['has a flipped bit', buildTar([{ name: 'a' }]).fill('b', 0, 1)],
  ['is none', Buffer.alloc(4096, 'z')],
])('a context that %s is refused', async (_, tar) => {
  await expect(read(tar)).rejects.toMatchObject({ code: 'invalid_argument', reason: 'bad_context' })
})
