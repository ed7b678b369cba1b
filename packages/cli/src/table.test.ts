import { describe, expect, it } from 'vitest'
import { describeProgress, ProgressJson, ProgressLine } from './progress-line.ts'
import { age, bytes, oneLine, table } from './table.ts'
import { timeLeft } from './transfer-rate.ts'

const MIB = 1024 * 1024

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
  const lines = (isTTY: boolean, now?: () => number) => {
    const written: string[] = []
    const write = (text: unknown) => written.push(String(text)) > 0
    const stream = { isTTY, columns: 120, write } as unknown as ConstructorParameters<typeof ProgressLine>[0]
    const line = new ProgressLine(stream, now)
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

  it('is one line for each 100 MiB where there is no terminal, also when a part is done again', () => {
    const { line, written } = lines(false)
    const total = 300 * MIB
    for (const done of [0, 50, 99, 120, 130, 90, 150, 299, 300])
      line.show({ message: 'Sending', done: done * MIB, total })
    expect(written).toEqual([
      'Sending\n',
      'Sending  100 MiB of 300 MiB\n',
      'Sending  200 MiB of 300 MiB\n',
      'Sending  300 MiB of 300 MiB\n',
    ])
  })

  it('is told to its end where there is no terminal, once', () => {
    const { line, written } = lines(false)
    const total = 250 * MIB
    for (const done of [0, 120, 249.9, 250, 250]) line.show({ message: 'Sending', done: done * MIB, total })
    for (const done of [0, 5]) line.show({ message: 'Packing', done, total: 5 })
    expect(written).toEqual([
      'Sending\n',
      'Sending  100 MiB of 250 MiB\n',
      'Sending  200 MiB of 250 MiB\n',
      'Sending  250 MiB of 250 MiB\n',
      'Packing\n',
    ])
  })

  it('tells rate and time left of a transfer once they are known', () => {
    let now = 0
    const { line, written } = lines(true, () => now)
    for (const done of [0, 10, 20, 30]) {
      line.show({ message: 'Sending', done: done * MIB, total: 100 * MIB })
      now += 1000
    }
    expect(written[0]).not.toContain('/s')
    expect(written.at(-1)).toContain('30.0 MiB of 100 MiB  10.0 MiB/s  7 s left')
    line.show({ message: 'Unpacking', done: 1, total: 2 })
    expect(written.at(-1)).not.toContain('/s')
  })

  it('lets lines of a log through, without what would move the cursor', () => {
    const { line, written } = lines(true)
    line.show({ message: 'Sending' })
    line.log('a\tb\u001b[2Jc\r')
    expect(written.slice(1)).toEqual(['\r\u001b[K', 'a\tb[2Jc\n'])
  })

  it('is lines of JSON for programs', () => {
    const written: string[] = []
    const json = new ProgressJson({ write: (text: unknown) => written.push(String(text)) > 0 })
    json.show({ message: 'Sending', done: 1 })
    json.log('a\nb')
    json.taken({ as: 'build', source: '.' }, 'build of .')
    expect(written.map((line) => JSON.parse(line))).toEqual([
      { event: 'progress', message: 'Sending', done: 1 },
      { event: 'log', line: 'a\nb' },
      { event: 'taken', as: 'build', source: '.' },
    ])
    expect(written.every((line) => line.indexOf('\n') === line.length - 1)).toBe(true)
  })

  it.each([
    [0.2, '1 s'],
    [99, '99 s'],
    [600, '10 min'],
    [7200, '2.0 h'],
  ])('says %d seconds as %s', (seconds, text) => {
    expect(timeLeft(seconds)).toBe(text)
  })

  it('is one line that changes on a terminal, and leaves nothing behind', () => {
    const { line, written } = lines(true)
    line.show({ message: 'Unpacking' })
    line.end()
    line.end()
    expect(written).toEqual(['\r\u001b[KUnpacking', '\r\u001b[K'])
  })
})
