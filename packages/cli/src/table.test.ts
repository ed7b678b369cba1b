import { describe, expect, it } from 'vitest'
import { describeProgress, ProgressLine } from './progress-line.ts'
import { age, bytes, oneLine, table } from './table.ts'

describe('a table', () => {
  it('is as wide as its widest cells and has no space at its ends', () => {
    expect(
      table(
        ['ID', 'STATE'],
        [
          ['sb-1', 'x'],
          ['a', 'running'],
        ],
      ),
    ).toBe('ID    STATE\nsb-1  x\na     running')
  })
})

describe('figures for people', () => {
  it('are short', () => {
    expect([0, 1023, 1024, 1536, 5 * 1024 ** 3, 300 * 1024 ** 2].map(bytes)).toEqual([
      '0 B',
      '1023 B',
      '1.0 KiB',
      '1.5 KiB',
      '5.0 GiB',
      '300 MiB',
    ])
    const second = 1000
    expect([-5, 59, 60, 3600, 47 * 3600, 100 * 3600].map((ago) => age(0, ago * second))).toEqual([
      '0s',
      '59s',
      '1m',
      '1h',
      '47h',
      '4d',
    ])
  })

  it('cannot move the cursor of a terminal', () => {
    expect(oneLine('a\u001b[2Jb\r\n\u009bc', 80)).toBe('a [2Jb c')
    expect(oneLine('abcdef', 4)).toBe('abc…')
  })
})

describe('progress', () => {
  const lines = (isTTY: boolean) => {
    const written: string[] = []
    const write = (text: unknown) => written.push(String(text)) > 0
    const line = new ProgressLine({ isTTY, columns: 60, write } as unknown as ConstructorParameters<
      typeof ProgressLine
    >[0])
    return { line, written }
  }

  it('is a bar where the whole is known', () => {
    expect(describeProgress({ message: 'Reading', done: 512, total: 1024 })).toBe(
      `Reading  ${'█'.repeat(12)}${'░'.repeat(12)} 50 %  512 B of 1.0 KiB`,
    )
    expect(describeProgress({ message: 'Packages', done: 3, unit: 'items' })).toBe('Packages  3')
  })

  it('is one line per step where there is no terminal', () => {
    const { line, written } = lines(false)
    for (const done of [1, 2, 3]) line.show({ message: 'Unpacking', done, total: 3 })
    line.show({ message: 'Configuring' })
    line.end()
    expect(written).toEqual(['Unpacking\n', 'Configuring\n'])
  })

  it('is one line that changes on a terminal, and leaves nothing behind', () => {
    const { line, written } = lines(true)
    line.show({ message: 'Unpacking' })
    line.end()
    line.end()
    expect(written).toEqual(['\r\u001b[KUnpacking', '\r\u001b[K'])
  })
})
