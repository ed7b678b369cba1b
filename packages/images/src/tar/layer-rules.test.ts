import { describe, expect, it } from 'vitest'
import { LayerRules } from './layer-rules.ts'
import type { TarEntry } from './scanner.ts'

type Given = Partial<TarEntry> & { name: string }

const decide = (rules: LayerRules, entry: Given) => rules.decide({ type: '0', size: 0, linkName: '', ...entry })

function decideAll(entries: Given[]) {
  const rules = new LayerRules()
  return { decisions: entries.map((entry) => decide(rules, entry)), removals: rules.removals }
}

const symlink = (name: string, linkName: string): Given => ({ name, type: '2', linkName })
const hardLink = (name: string, linkName: string): Given => ({ name, type: '1', linkName })

describe('layer rules', () => {
  it.each<[string, Given[], string]>([
    ['an absolute name', [{ name: '/etc/passwd' }], 'archive_path_escape'],
    ['a name upwards', [{ name: '../etc/passwd' }], 'archive_path_escape'],
    ['a name upwards in the middle', [{ name: 'a/../../b' }], 'archive_path_escape'],
    ['a name upwards at the end', [{ name: 'a/..' }], 'archive_path_escape'],
    ['an empty name', [{ name: '' }], 'archive_path_escape'],
    ['a name with NUL', [{ name: 'a\0b' }], 'archive_path_escape'],
    ['a name longer than the kernel takes', [{ name: 'x/'.repeat(2100) }], 'archive_path_escape'],
    ['a file in place of the root', [{ name: './' }], 'archive_path_escape'],
    ['a write through an absolute symlink', [symlink('a', '/etc'), { name: 'a/passwd' }], 'archive_symlink_escape'],
    ['a write through a symlink upwards', [symlink('a', '../..'), { name: 'a/b' }], 'archive_symlink_escape'],
    [
      'a write through a symlink to a symlink upwards',
      [symlink('d/up', '../..'), symlink('a', 'd/up'), { name: 'a/b' }],
      'archive_symlink_escape',
    ],
    [
      'a write through a hard link to a symlink',
      [symlink('a', '/'), hardLink('b', 'a'), { name: 'b/c' }],
      'archive_symlink_escape',
    ],
    ['a circle of symlinks', [symlink('a', 'b'), symlink('b', 'a'), { name: 'a/c' }], 'archive_symlink_escape'],
    ['an absolute hard link', [hardLink('a', '/etc/shadow')], 'archive_hardlink_escape'],
    ['a hard link upwards', [hardLink('a', '../shadow')], 'archive_hardlink_escape'],
    ['a hard link through a symlink', [symlink('e', '/etc'), hardLink('a', 'e/shadow')], 'archive_symlink_escape'],
    ['a whiteout of ".."', [{ name: 'a/.wh...' }], 'archive_path_escape'],
    ['a whiteout of "."', [{ name: 'a/.wh..' }], 'archive_path_escape'],
    ['a whiteout of nothing', [{ name: '.wh.' }], 'archive_path_escape'],
    ['a whiteout through a symlink', [symlink('e', '/etc'), { name: 'e/.wh.passwd' }], 'archive_symlink_escape'],
  ])('refuse %s', (_, entries, reason) => {
    expect(() => decideAll(entries)).toThrow(expect.objectContaining({ code: 'invalid_argument', reason }))
  })

  it('keep ordinary entries, whatever their symlinks point to', () => {
    const entries = [
      { name: './', type: '5' },
      { name: './a/', type: '5' },
      { name: 'a//b' },
      { name: 'a/..b' },
      symlink('a/abs', '/etc/passwd'),
      symlink('a/up', '../../../x'),
      hardLink('c', './a/b'),
      { name: 'fifo', type: '6' },
      { name: '\xff\xfe' },
    ]
    expect(decideAll(entries).decisions).toEqual(entries.map(() => 'keep'))
  })

  it('keep what is written through a symlink that stays inside', () => {
    const entries = [symlink('lib', 'usr/lib'), symlink('usr/lib', 'lib64'), { name: 'lib/x' }]
    expect(decideAll(entries).decisions).toEqual(['keep', 'keep', 'keep'])
  })

  it('forget a symlink that was replaced by a folder', () => {
    expect(decideAll([symlink('a', '/etc'), { name: 'a/', type: '5' }, { name: 'a/x' }]).decisions).toEqual([
      'keep',
      'keep',
      'keep',
    ])
  })

  it('drop device nodes and hard links to them, and nothing of the same name later', () => {
    const entries = [
      { name: 'dev/null', type: '3' },
      hardLink('n', 'dev/null'),
      { name: 'dev/sda', type: '4' },
      { name: 'dev/null' },
    ]
    expect(decideAll(entries).decisions).toEqual(['drop', 'drop', 'drop', 'keep'])
  })

  it('drop and collect whiteouts', () => {
    const { decisions, removals } = decideAll([
      { name: 'a/.wh.b' },
      { name: './.wh.c' },
      { name: 'd/.wh..wh..opq' },
      { name: '.wh..wh..opq' },
      { name: '.wh..wh.aufs' },
      { name: '.wh..wh.plnk/1.2' },
      { name: 'a/.whx' },
    ])
    expect(decisions).toEqual(['drop', 'drop', 'drop', 'drop', 'drop', 'drop', 'keep'])
    expect(removals).toEqual({ whiteouts: ['a/b', 'c'], opaque: ['d', ''] })
  })

  it('stop at more links than a layer can have, instead of filling the memory', () => {
    const rules = new LayerRules()
    const target = 't'.repeat(4000)
    const many = () => {
      for (let i = 0; i < 100_000; i++) decide(rules, symlink(`l${i}`, target))
    }
    expect(many).toThrow(expect.objectContaining({ reason: 'archive_too_many_links' }))
  })

  it('say the name in a message without control characters', () => {
    expect(() => decideAll([{ name: '/\x1b[2J\x07' }])).toThrow('"/?[2J?"')
  })
})
