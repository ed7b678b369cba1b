import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { requireReadableAccounts } from './accounts.ts'

let outside: string
let root: string
beforeEach(() => {
  outside = mkdtempSync(join(tmpdir(), 'cpa-'))
  root = join(outside, 'root')
  mkdirSync(join(root, 'etc'), { recursive: true })
})
afterEach(() => rmSync(outside, { recursive: true, force: true }))

const fifo = (path: string): unknown => execFileSync('mkfifo', [join(root, path)])
const link = (path: string, target: string): void => symlinkSync(target, join(root, path))
const file = (path: string): void => writeFileSync(join(root, path), '')

const refused: [string, string, () => void][] = [
  ['is a FIFO', '/etc/passwd', () => fifo('etc/passwd')],
  [
    'leads to a FIFO',
    '/etc/group',
    () => {
      fifo('f')
      link('etc/group', '/f')
    },
  ],
  [
    'leads to a FIFO by a path of the folder that it is in',
    '/etc/passwd',
    () => {
      fifo('f')
      link('etc/passwd', '../x/../f')
      mkdirSync(join(root, 'x'))
    },
  ],
  [
    'leads to a FIFO over several symlinks, and up above the root',
    '/etc/passwd',
    () => {
      mkdirSync(join(root, 'd'))
      fifo('d/f')
      link('e', 'd')
      link('etc/one', '../../../../e/./f')
      link('etc/passwd', 'one')
    },
  ],
  [
    'is in a folder that is a symlink',
    '/etc/passwd',
    () => {
      rmSync(join(root, 'etc'), { recursive: true })
      mkdirSync(join(root, 'e'))
      fifo('e/passwd')
      link('etc', '/e')
    },
  ],
  ['leads to what is mounted over the root', '/etc/passwd', () => link('etc/passwd', '/dev/ptmx')],
  ['leads to the state of the supervisor', '/etc/group', () => link('etc/group', '../.coppice-state/f')],
  [
    'leads deeper than can be examined',
    '/etc/passwd',
    () => {
      const deep = `${'x'.repeat(200)}/`.repeat(15)
      mkdirSync(join(root, deep), { recursive: true })
      link('etc/passwd', `/${deep}more`)
      execFileSync('sh', ['-c', `cd "$1" && ln -s "$2" more`, '-', join(root, deep), `${'y'.repeat(200)}/`.repeat(10)])
      execFileSync('sh', ['-c', `cd "$1" && mkdir -p "$2"`, '-', join(root, deep), `${'y'.repeat(200)}/`.repeat(5)])
    },
  ],
]

const harmless: [string, () => void][] = [
  ['are not there', () => rmSync(join(root, 'etc'), { recursive: true })],
  [
    'are files',
    () => {
      file('etc/passwd')
      file('etc/group')
    },
  ],
  [
    'lead to files',
    () => {
      file('p')
      link('etc/passwd', '/p')
      link('etc/group', '../p')
    },
  ],
  [
    'lead to nothing, and through a file',
    () => {
      file('p')
      link('etc/passwd', '/nothing/f')
      link('etc/group', '/p/f')
    },
  ],
  [
    'lead in a circle',
    () => {
      link('etc/passwd', 'group')
      link('etc/group', 'passwd')
    },
  ],
  [
    'are a folder and /dev/null',
    () => {
      mkdirSync(join(root, 'etc/passwd'))
      link('etc/group', '/dev/null')
    },
  ],
  [
    'lead to a FIFO of the host, which is nothing inside',
    () => {
      execFileSync('mkfifo', [join(outside, 'f')])
      link('etc/passwd', join(outside, 'f'))
      link('etc/group', '../../f')
    },
  ],
]

describe('accounts of a sandbox', () => {
  test.for(refused)('are refused when one %s: %s', ([, path, make]) => {
    make()
    expect(() => requireReadableAccounts(root)).toThrow(
      expect.objectContaining({ reason: 'accounts_unreadable', facts: { path } }),
    )
  })

  test.for(harmless)('are left to runc when they %s', ([, make]) => {
    make()
    requireReadableAccounts(root)
  })
})
