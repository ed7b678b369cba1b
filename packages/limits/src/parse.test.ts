import { describe, expect, it } from 'vitest'
import { limitText } from './limit.ts'
import { parseLimit, parseProcLimits, parseUlimit } from './parse.ts'

const UNLIMITED = Number.POSITIVE_INFINITY

describe('a limit of open files', () => {
  it.each([
    ['Linux, a login', '1024\n', 1024],
    ['Linux, a service', '1048576\n', 1_048_576],
    ['Linux, no limit', 'unlimited\n', UNLIMITED],
    ['Linux, no limit as its number', '18446744073709551615\n', UNLIMITED],
    ['macOS, a terminal', '256\n', 256],
    ['macOS, no limit', 'unlimited\n', UNLIMITED],
    ['macOS, no limit as its number', '9223372036854775807\n', UNLIMITED],
    ['systemd, no limit', 'infinity', UNLIMITED],
    ['with a carriage return', '10240\r\n', 10_240],
    ['nothing open', '0', 0],
  ])('is read from what is printed: %s', (_, output, limit) => {
    expect(parseLimit(output)).toBe(limit)
  })

  it.each(['', '\n', '-1', '1e4', '0x400', '256 files', 'sh: ulimit: not found', 'NaN'])(
    'is not read from "%s"',
    (text) => {
      expect(parseLimit(text)).toBeUndefined()
    },
  )

  it('is printed as the shells do', () => {
    expect([limitText(256), limitText(UNLIMITED)]).toEqual(['256', 'unlimited'])
  })
})

describe('both limits', () => {
  it.each([
    ['Linux', '1024\n524288\n', { soft: 1024, hard: 524_288 }],
    ['macOS', '256\nunlimited\n', { soft: 256, hard: UNLIMITED }],
    ['Linux as root in a container', '1048576\n1048576\n', { soft: 1_048_576, hard: 1_048_576 }],
    ['all unlimited', 'unlimited\nunlimited\n', { soft: UNLIMITED, hard: UNLIMITED }],
  ])('are read from two lines of ulimit: %s', (_, output, limit) => {
    expect(parseUlimit(output)).toEqual(limit)
  })

  it.each(['', '1024\n', '1024\n2048\n4096\n', 'sh: 1: ulimit: Illegal option -S\n'])(
    'are not read from "%s"',
    (output) => {
      expect(parseUlimit(output)).toBeUndefined()
    },
  )

  it.each([
    ['1024                 524288              ', { soft: 1024, hard: 524_288 }],
    ['unlimited            unlimited           ', { soft: UNLIMITED, hard: UNLIMITED }],
    ['1073741816           1073741816          ', { soft: 1_073_741_816, hard: 1_073_741_816 }],
  ])('are read from /proc/self/limits: %s', (columns, limit) => {
    const text = [
      'Limit                     Soft Limit           Hard Limit           Units     ',
      'Max processes             63474                63474                processes ',
      `Max open files            ${columns} files     `,
      'Max locked memory         8388608              8388608              bytes     ',
      '',
    ].join('\n')
    expect(parseProcLimits(text)).toEqual(limit)
  })

  it('are not read from a text that does not name them', () => {
    expect(
      parseProcLimits('Max processes             63474                63474                processes \n'),
    ).toBeUndefined()
    expect(parseProcLimits('')).toBeUndefined()
  })
})
