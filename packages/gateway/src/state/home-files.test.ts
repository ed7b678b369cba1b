import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readConfig } from './config.ts'
import { takeLock } from './lock.ts'
import { readOrMakeToken } from './token.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-home-'))
})
afterEach(() => rmSync(dir, { recursive: true }))

const WRONG: [string, (path: string) => void][] = [
  ['a folder', (path) => mkdirSync(path, { mode: 0o755 })],
  ['a FIFO', (path) => void execFileSync('mkfifo', [path])],
  ['a circle of links', (path) => symlinkSync(path, path)],
]

describe.each([
  ['config.json', readConfig],
  ['token', readOrMakeToken],
  ['gateway.lock', takeLock],
] as const)('%s', (name, open) => {
  it.each(WRONG)('that is %s is said to be none, and how to mend it', (_, make) => {
    const path = join(dir, name)
    make(path)
    expect(() => open(path)).toThrow(
      expect.objectContaining({
        reason: 'state_not_a_file',
        hint: `Look with: ls -ld ${path}; then move it away: mv ${path} ${path}.aside`,
      }),
    )
  })
})

describe('the token', () => {
  it('is made once', () => {
    const path = join(dir, 'token')
    const token = readOrMakeToken(path)
    expect(token.length).toBeGreaterThanOrEqual(32)
    expect(readOrMakeToken(path)).toBe(token)
  })

  it('is not used when others can read it, or when it is none', () => {
    const path = join(dir, 'token')
    readOrMakeToken(path)
    chmodSync(path, 0o644)
    expect(() => readOrMakeToken(path)).toThrow(expect.objectContaining({ reason: 'token_exposed' }))
    chmodSync(path, 0o600)
    writeFileSync(path, 'short')
    expect(() => readOrMakeToken(path)).toThrow(expect.objectContaining({ reason: 'token_unusable' }))
  })
})
