import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  parseCount,
  parseDuration,
  parseEnv,
  parseForward,
  parseMemory,
  parseNumber,
  parsePair,
  parsePort,
  parseSignal,
} from './parse.ts'

const refused = expect.objectContaining({ code: 'invalid_argument', reason: 'usage' })
afterEach(() => vi.unstubAllEnvs())

describe('values on the command line', () => {
  it.each([
    ['30s', 30_000],
    ['250ms', 250],
    ['1.5h', 5_400_000],
    ['2m', 120_000],
    ['7', 7_000],
  ])('%s is a duration', (text, ms) => {
    expect(parseDuration(text)).toBe(ms)
  })

  it.each(['', '0', '-1s', '1w', 's', '1e3', '30 s', '100d'])('%j is no duration', (text) => {
    expect(() => parseDuration(text)).toThrow(refused)
  })

  it.each([
    ['1024', 1024],
    ['512m', 512],
    ['2g', 2048],
    ['1.5G', 1536],
    ['2GiB', 2048],
  ])('%s is memory', (text, mib) => {
    expect(parseMemory(text)).toBe(mib)
  })

  it.each(['', '0', '1.5', '1t', 'lots'])('%j is no memory', (text) => {
    expect(() => parseMemory(text)).toThrow(refused)
  })

  it('numbers are checked', () => {
    expect(parseNumber('0.5')).toBe(0.5)
    expect(parseCount('0')).toBe(0)
    for (const text of ['', '0', '-1', 'x', 'Infinity']) expect(() => parseNumber(text)).toThrow(refused)
    for (const text of ['', '-1', '1.5', '1e3', '99999999999999999999']) expect(() => parseCount(text)).toThrow(refused)
  })

  it('pairs are collected, their values may hold anything', () => {
    expect(parsePair('B=x=y', parsePair('A='))).toEqual({ A: '', B: 'x=y' })
    for (const text of ['', 'A', '=x']) expect(() => parsePair(text)).toThrow(refused)
  })

  it('a variable without value is passed on from here', () => {
    vi.stubEnv('COPPICE_TEST_HERE', 'here')
    expect(parseEnv('COPPICE_TEST_HERE')).toEqual({ COPPICE_TEST_HERE: 'here' })
    expect(() => parseEnv('COPPICE_TEST_NOT_SET')).toThrow(refused)
  })

  it('signals are names without SIG', () => {
    expect([parseSignal('term'), parseSignal('SIGUSR1'), parseSignal('9'), parseSignal('RTMIN+1')]).toEqual([
      'TERM',
      'USR1',
      '9',
      'RTMIN+1',
    ])
    expect(() => parseSignal('no such')).toThrow(refused)
  })

  it('ports are 1 to 65535, forwarded ones with the port here before them', () => {
    expect([parsePort('1'), parsePort('65535')]).toEqual([1, 65_535])
    for (const text of ['', '0', '65536', '-1', '80x', '1e3', '0x50']) expect(() => parsePort(text)).toThrow(refused)
    expect(['80', '8080:80', '0:80'].map(parseForward)).toEqual([
      { local: 80, port: 80 },
      { local: 8080, port: 80 },
      { local: 0, port: 80 },
    ])
    for (const text of ['', ':80', '80:', '80:0', '1:2:3', 'a:b', '127.0.0.1:80'])
      expect(() => parseForward(text)).toThrow(refused)
  })
})
