import { expect, test } from 'vitest'
import { parseSecretSizes, takeSecrets } from './build-secrets.ts'

async function* inPieces(text: string, length: number): AsyncGenerator<Buffer, void, void> {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length)
}

test.each([1, 2, 5, 100])('secrets are taken off the front of a body that comes in pieces of %i', async (length) => {
  const sizes = parseSecretSizes(['a:3', 'none:0', 'b.c:4'])
  const { secrets, context } = await takeSecrets(inPieces('oneFOURcontext', length), sizes)
  expect([...secrets].map(([id, bytes]) => [id, Buffer.from(bytes).toString()])).toEqual([
    ['a', 'one'],
    ['none', ''],
    ['b.c', 'FOUR'],
  ])
  expect(Buffer.concat(await Array.fromAsync(context)).toString()).toBe('context')
})

test('a body that ends before its secrets is refused', async () => {
  await expect(takeSecrets(inPieces('on', 1), parseSecretSizes(['a:3']))).rejects.toMatchObject({
    reason: 'bad_build_secret',
  })
})

test('a body that is cut among its secrets was not sent whole', async () => {
  async function* cut() {
    yield Buffer.from('on')
    throw Object.assign(new Error('aborted'), { code: 'ECONNRESET' })
  }
  await expect(takeSecrets(cut(), parseSecretSizes(['a:3']))).rejects.toMatchObject({
    code: 'cancelled',
    reason: 'upload_cut',
  })
})

test.each([
  [['a'], 'bad_build_secret'],
  [['a:x'], 'bad_build_secret'],
  [['../a:1'], 'bad_build_secret'],
  [['a,b:1'], 'bad_build_secret'],
  [['a:1', 'a:2'], 'bad_build_secret'],
  [[`a:${500 * 1024 + 1}`], 'build_secret_too_large'],
  [Array.from({ length: 33 }, (_, at) => `a${at}:1`), 'bad_build_secret'],
])('%j is refused', (announced, reason) => {
  expect(() => parseSecretSizes(announced)).toThrow(expect.objectContaining({ reason }))
})
