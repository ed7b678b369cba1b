import { describe, expect, it } from 'vitest'
import { inside, parsePlaceOfCopy } from './place.ts'

describe('a side of cp', () => {
  it.each([
    ['box:/a/b', { kind: 'sandbox', sandbox: 'box', path: '/a/b' }],
    ['box:rel', { kind: 'sandbox', sandbox: 'box', path: '/rel' }],
    ['sb-1.x_y:/a:b', { kind: 'sandbox', sandbox: 'sb-1.x_y', path: '/a:b' }],
    ['./a:b', { kind: 'local', path: './a:b' }],
    ['/a:b', { kind: 'local', path: '/a:b' }],
    ['file', { kind: 'local', path: 'file' }],
    ['-', { kind: 'stream' }],
  ])('%s is understood', (text, place) => {
    expect(parsePlaceOfCopy(text)).toEqual(place)
  })

  it.each(['', 'box:'])('%j is refused', (text) => {
    expect(() => parsePlaceOfCopy(text)).toThrow(expect.objectContaining({ reason: 'usage' }))
  })

  it.each([
    ['/to', 'from', '/to/from'],
    ['/to/', '/a/from/', '/to/from'],
    ['/to', 'from/.', '/to'],
    ['/to', '.', '/to'],
    ['/to', '/', '/to'],
    ['/', 'x', '/x'],
  ])('into %s, %s goes to %s', (target, source, path) => {
    expect(inside(target, source)).toBe(path)
  })
})
