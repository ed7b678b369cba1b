import { expect, test } from 'vitest'
import { demultiplex } from './logs.ts'

const piece = (stream: number, text: string): Buffer => {
  const header = Buffer.alloc(8)
  header[0] = stream
  header.writeUInt32BE(text.length, 4)
  return Buffer.concat([header, Buffer.from(text)])
}

test('output and error are put together whatever the cuts', async () => {
  const whole = Buffer.concat([piece(1, 'one\n'), piece(2, ''), piece(2, 'two\n'), piece(1, 'x'.repeat(1000))])
  for (const size of [1, 3, 7, 8, 9, 500, 5000]) {
    async function* cut() {
      for (let at = 0; at < whole.length; at += size) yield whole.subarray(at, at + size)
    }
    const parts = await Array.fromAsync(demultiplex(cut()))
    expect(Buffer.concat(parts).toString()).toBe(`one\ntwo\n${'x'.repeat(1000)}`)
  }
})
