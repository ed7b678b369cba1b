import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { tarAround } from './tar-around.ts'

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
