import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { requireDirectory, resolveProgram } from './program.ts'

const root = { uid: 0, gid: 0, groups: [], home: '/root' }
const user = { uid: 1000, gid: 1000, groups: [50], home: '/' }
let dir: string
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'program-'))
  chmodSync(dir, 0o755)
  mkdirSync(join(dir, 'bin'))
  mkdirSync(join(dir, 'closed'))
  chmodSync(join(dir, 'closed'), 0o700)
  const files = { 'bin/tool': 0o755, 'bin/mine': 0o700, 'bin/data': 0o644, other: 0o755 }
  for (const [name, mode] of Object.entries(files)) writeFileSync(join(dir, name), '\x7fELF', { mode })
  writeFileSync(join(dir, 'bin/script'), '#!/nonexistent/python -u\n', { mode: 0o755 })
})
afterAll(() => rmSync(dir, { recursive: true }))

const PATH = () => `/nonexistent:${dir}/bin`

test('a bare name is looked for in PATH, also in relative parts of it', () => {
  expect(resolveProgram('tool', '/', PATH(), user)).toBe(`${dir}/bin/tool`)
  expect(resolveProgram('tool', dir, 'bin', user)).toBe(`${dir}/bin/tool`)
  expect(resolveProgram('other', dir, '', user)).toBe(`${dir}/other`)
})

test('a name with a slash is a path from the working directory', () => {
  expect(resolveProgram('./other', dir, PATH(), user)).toBe(`${dir}/other`)
  expect(resolveProgram('bin/tool', dir, PATH(), user)).toBe(`${dir}/bin/tool`)
})

test.each(['nope', './nope', '/nonexistent/x', ''])('%j is not found', (name) => {
  expect(() => resolveProgram(name, dir, PATH(), user)).toThrow(
    expect.objectContaining({ code: 'not_found', reason: 'program_not_found' }),
  )
})

test.each(['data', './bin/data', './bin', 'mine'])('%j is there but cannot be run', (name) => {
  expect(() => resolveProgram(name, dir, PATH(), user)).toThrow(
    expect.objectContaining({ code: 'failed_precondition', reason: 'not_executable' }),
  )
})

test('a script without its interpreter says which is missing', () => {
  expect(() => resolveProgram('script', dir, PATH(), user)).toThrow(
    expect.objectContaining({
      reason: 'not_executable',
      facts: expect.objectContaining({ interpreter: '/nonexistent/python' }),
    }),
  )
})

test('working directories: missing, not a directory, not permitted', () => {
  requireDirectory(dir, user)
  requireDirectory(join(dir, 'closed'), root)
  const reason = (path: string) => {
    try {
      requireDirectory(path, user)
    } catch (error) {
      return (error as { reason: string }).reason
    }
    return undefined
  }
  expect(reason(join(dir, 'nope'))).toBe('cwd_not_found')
  expect(reason(join(dir, 'other'))).toBe('cwd_not_a_directory')
  if (process.getuid?.() === 0) expect(reason(join(dir, 'closed'))).toBe('cwd_not_permitted')
})
