import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bundleSupervisor } from './bundle-supervisor.ts'

type Validate = ((value: unknown) => boolean) & { errors?: { instancePath: string }[] }

describe('coppice:validators', () => {
  let folder: string
  let validators: Record<string, Validate>
  let bytes: number

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'coppice-validators-'))
    const entry = join(folder, 'entry.ts')
    await writeFile(entry, "export * from 'coppice:validators'\n")
    const { code } = await bundleSupervisor(entry)
    bytes = code.length
    await writeFile(join(folder, 'out.mjs'), code)
    validators = (await import(join(folder, 'out.mjs'))) as Record<string, Validate>
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  const check = (name: string, value: unknown): boolean => validators[name]?.(value) ?? false

  test('exports a function for each body and for the configuration', () => {
    const names = ['execSpec', 'mkdir', 'move', 'remove', 'resize', 'signal', 'supervisorConfig']
    expect(Object.keys(validators).sort()).toEqual(expect.arrayContaining(names))
  })

  test('fills defaults in place, nested ones too', () => {
    const spec = { argv: ['true'], pty: {} }
    expect(check('execSpec', spec)).toBe(true)
    expect(spec).toMatchObject({
      stdin: 'none',
      graceMs: 2000,
      journal: 'spill',
      tied: false,
      pty: { cols: 80, rows: 24 },
    })
  })

  test('refuses unknown members, wrong types, NUL and out-of-range numbers, and says where', () => {
    expect(check('execSpec', { argv: ['true'], unknown: 1 })).toBe(false)
    expect(check('execSpec', { argv: 'true' })).toBe(false)
    expect(check('execSpec', { argv: ['a\0b'] })).toBe(false)
    expect(check('execSpec', { argv: ['true'], timeoutMs: 0 })).toBe(false)
    expect(check('execSpec', { argv: ['true'], env: { 'A=B': '1' } })).toBe(false)
    expect(check('resize', { cols: 0, rows: 10 })).toBe(false)
    expect(validators.resize?.errors?.[0]?.instancePath).toBe('/cols')
  })

  test('takes what it should', () => {
    expect(check('signal', { signal: 'SIGTERM' })).toBe(true)
    expect(check('mkdir', { path: '/a' })).toBe(true)
    expect(check('move', { from: '/a', to: '/b' })).toBe(true)
    expect(check('remove', { path: '/a' })).toBe(true)
  })

  test('carries no schema library', () => {
    expect(bytes).toBeLessThan(64 * 1024)
  })
})
