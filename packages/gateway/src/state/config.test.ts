import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { ConfigSchema, readConfig } from './config.ts'

const file = (text: string) => {
  const path = join(mkdtempSync(join(tmpdir(), 'coppice-config-')), 'config.json')
  writeFileSync(path, text)
  return path
}

describe('readConfig', () => {
  it('is all defaults without a file', () => {
    const config = readConfig('/nowhere/config.json')
    expect(config.session).toEqual({ leaseMs: 12_000, boundMs: 30_000 })
    expect(config.resultRetentionMs).toBeGreaterThanOrEqual(600_000)
  })

  it('keeps the other fields of a group that names one', () => {
    expect(readConfig(file('{"session":{"leaseMs":500}}')).session).toEqual({ leaseMs: 500, boundMs: 30_000 })
  })

  it('takes mirrors by the host of their registry', () => {
    const mirrors = { 'docker.io': ['https://mirror.example:5000/hub', 'http://10.0.0.1'] }
    const config = readConfig(file(JSON.stringify({ registries: { mirrors, insecure: ['lab.example:5000'] } })))
    expect(config.registries).toEqual({ mirrors, insecure: ['lab.example:5000'] })
  })

  it.each([
    '{"registries":{"mirrors":{"docker.io":["ftp://mirror.example"]}}}',
    '{"registries":{"mirrors":{"https://docker.io":["mirror.example"]}}}',
    '{"registries":{"mirrors":{"docker.io":"mirror.example"}}}',
    '{"registries":{"insecure":["https://lab.example"]}}',
  ])('refuses %s', (text) => {
    expect(() => readConfig(file(text))).toThrow(expect.objectContaining({ reason: 'bad_config' }))
  })

  it.each(['{', '[]', '{"sesion":{}}', '{"session":{"leaseMs":"1"}}', '{"maxSandboxes":0}'])(
    'refuses %s and names the file',
    (text) => {
      const path = file(text)
      expect(() => readConfig(path)).toThrow(expect.objectContaining({ reason: 'bad_config', facts: { path } }))
    },
  )
})

describe('docs/configuration.md', () => {
  it('names every field', () => {
    const page = readFileSync(new URL('../../../../docs/configuration.md', import.meta.url), 'utf8')
    const names = (shape: Record<string, unknown>, prefix = ''): string[] =>
      Object.entries(shape).flatMap(([name, field]) => {
        const inner = innerShape(field)
        return inner ? names(inner, `${name}.`) : [`${prefix}${name}`]
      })
    for (const name of names(ConfigSchema.shape)) expect(page).toContain(`\`${name}\``)
  })
})

/** The shape of a group of fields, below its default. */
function innerShape(field: unknown): Record<string, unknown> | undefined {
  const { shape, def } = field as { shape?: Record<string, unknown>; def?: { innerType?: unknown } }
  return shape ?? (def?.innerType ? innerShape(def.innerType) : undefined)
}
