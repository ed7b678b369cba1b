import { expect, it } from 'vitest'
import { LastOutput } from './last-output.ts'

it('keeps exactly the last 64 KiB, whatever the sizes of the pieces', () => {
  for (const size of [1, 7, 4096, 65_535, 65_536, 65_537, 200_000]) {
    const output = new LastOutput()
    let all = ''
    for (let count = 0; all.length < 300_000; count += 1) {
      const piece = String(count)
        .padStart(8, '.')
        .repeat(Math.ceil(size / 8))
        .slice(0, size)
      output.push(Buffer.from(piece))
      all += piece
      if (size === 1 && all.length > 140_000) break
    }
    expect(output.text()).toBe(all.slice(-65_536))
  }
})

it('is what was written as long as that is little', () => {
  const output = new LastOutput()
  expect(output.text()).toBe('')
  output.push(Buffer.from('one '))
  output.push(Buffer.from('two'))
  expect(output.text()).toBe('one two')
})
