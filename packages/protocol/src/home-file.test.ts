import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openLockFile, readHomeFile, requireNoFolder } from './home-file.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-home-'))
})
afterEach(() => rmSync(dir, { recursive: true }))

const WRONG: [string, (path: string) => void][] = [
  ['a folder', (path) => mkdirSync(path)],
  ['a FIFO', (path) => void execFileSync('mkfifo', [path])],
  ['a device', (path) => symlinkSync('/dev/null', path)],
  ['a link to nothing', (path) => symlinkSync(join(dir, 'gone', 'away'), path)],
  ['a symbolic link that is not followed, or leads to itself', (path) => symlinkSync(path, path)],
]

describe('a file of a home', () => {
  it('is read, or is not there', () => {
    const path = join(dir, 'token')
    expect(readHomeFile(path)).toBeUndefined()
    writeFileSync(path, 'text')
    expect(readHomeFile(path)).toBe('text')
    expect(readHomeFile(join(path, 'below'))).toBeUndefined()
    symlinkSync(path, join(dir, 'link'))
    expect(readHomeFile(join(dir, 'link'))).toBe('text')
    expect(() => readHomeFile(join(dir, 'link'), { noFollow: true })).toThrow(
      expect.objectContaining({ reason: 'state_not_a_file' }),
    )
  })

  it.each(WRONG)('in whose place is %s is neither waited for nor taken for another', (what, make) => {
    const path = join(dir, "it's")
    make(path)
    const expected = expect.objectContaining({
      code: 'failed_precondition',
      reason: 'state_not_a_file',
      facts: { path, what },
      hint: expect.stringContaining(`mv '${dir}/it'\\''s' '${dir}/it'\\''s.aside'`),
    })
    expect(() => readHomeFile(path)).toThrow(expected)
    expect(() => openLockFile(path)).toThrow(expected)
    if (what === 'a folder') expect(() => requireNoFolder(path)).toThrow(expected)
    else requireNoFolder(path)
  })

  it('that this user may not read is told so', (context) => {
    if (process.getuid?.() !== 0) context.skip('only root can become somebody else')
    const path = join(dir, 'token')
    writeFileSync(path, 'text', { mode: 0o600 })
    chmodSync(dir, 0o755)
    const program = `import(process.argv[1]).then(({ readHomeFile }) => readHomeFile(process.argv[2])).catch(({ code, reason }) => console.log(code, reason))`
    const args = ['-e', program, new URL('./home-file.ts', import.meta.url).href, path]
    const { stdout } = spawnSync(process.execPath, args, { uid: 65_534, gid: 65_534, encoding: 'utf8', env: {} })
    expect(stdout).toBe('permission_denied state_unreadable\n')
  })
})
