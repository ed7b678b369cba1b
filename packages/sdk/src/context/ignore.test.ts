import { describe, expect, test } from 'vitest'
import { IgnoreFile } from './ignore.ts'

/** Pattern lines, then what is ignored and what is not. */
const cases: [string, string[], string[]][] = [
  ['node_modules', ['node_modules', 'node_modules/a/b.js'], ['src/node_modules', 'node_modules2']],
  ['*/temp*', ['a/temp', 'a/temporary.txt', 'a/temp/x'], ['temp', 'a/b/temp']],
  ['*/*/temp*', ['a/b/temp', 'a/b/temp.txt'], ['a/temp', 'temp']],
  ['temp?', ['tempa', 'temp1', 'tempa/x'], ['temp', 'tempab']],
  ['**/*.go', ['a.go', 'x/a.go', 'x/y/a.go'], ['a.golang', 'go']],
  ['**/foo', ['foo', 'a/foo', 'a/b/foo', 'a/foo/x'], ['afoo', 'a/xfoo']],
  ['**/foo/bar', ['foo/bar', 'a/foo/bar'], ['foo', 'bar']],
  ['**foo', ['foo', 'xfoo', 'a/xfoo'], ['food']],
  ['a/**', ['a/b', 'a/b/c'], ['a', 'b']],
  ['a/**/b', ['a/b', 'a/x/b', 'a/x/y/b', 'a/b/c'], ['a', 'b', 'ab']],
  ['**', ['anything', 'a/b'], []],
  ['*', ['a', 'a/b'], []],
  ['*\n!keep', ['a', 'keeper'], ['keep', 'keep/inside']],
  ['*.md\n!README*.md', ['CHANGES.md'], ['README.md', 'README-secret.md']],
  ['*.md\n!README*.md\nREADME-secret.md', ['CHANGES.md', 'README-secret.md'], ['README.md']],
  ['*.md\nREADME-secret.md\n!README*.md', ['CHANGES.md'], ['README.md', 'README-secret.md']],
  ['docs\n!docs/keep/file', ['docs/a', 'docs/keep', 'docs/keep/other'], ['docs/keep/file']],
  ['/abs', ['abs', 'abs/x'], ['a/abs']],
  ['./here/', ['here', 'here/x'], ['x/here']],
  ['a//b/../c', ['a/c'], ['a/b']],
  ['# comment\n #not one', ['#not one'], ['# comment']],
  ['\uFEFFfirst', ['first'], []],
  ['crlf\r\nsecond\r\n', ['crlf', 'second'], []],
  ['  spaced  ', ['spaced'], ['  spaced']],
  ['! spaced', [], ['spaced']],
  ['a.b', ['a.b'], ['axb']],
  ['a+b(c)', ['a+b(c)'], ['aab(c)']],
  ['[a-c].txt', ['a.txt', 'c.txt'], ['d.txt', '-.txt']],
  ['[^a].txt', ['b.txt'], ['a.txt']],
  ['\\*.txt', ['*.txt'], ['a.txt']],
  ['é?', ['éü', 'é🌳'], ['é', 'éab']],
]

describe('.dockerignore', () => {
  test.each(cases)('%j', (text, ignored, taken) => {
    const file = new IgnoreFile(text)
    for (const path of ignored) expect([path, file.ignores(path)]).toEqual([path, true])
    for (const path of taken) expect([path, file.ignores(path)]).toEqual([path, false])
  })

  test.each(['[', 'a[b', 'a\\', '!'])('%j is an error that names it', (pattern) => {
    expect(() => new IgnoreFile(pattern)).toThrow(expect.objectContaining({ reason: 'bad_ignore_pattern' }))
  })

  test('a folder that is left out is looked into only when something in it may be taken', () => {
    const file = new IgnoreFile('docs\nnode_modules\n!docs/keep/*.md')
    expect(file.mayTakeWithin('docs')).toBe(true)
    expect(file.mayTakeWithin('docs/keep')).toBe(true)
    expect(file.mayTakeWithin('docs/other')).toBe(false)
    expect(file.mayTakeWithin('node_modules')).toBe(false)
    expect(new IgnoreFile('*\n!**/x').mayTakeWithin('any/where')).toBe(true)
  })
})
