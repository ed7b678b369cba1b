import { expect, test } from 'vitest'
import { configHash } from './config-hash.ts'

type Asked = Parameters<typeof configHash>[0]
const asked = (changes: Partial<Asked> = {}): Asked => ({
  imageDigest: 'sha256:aa',
  driver: 'oci',
  limits: { memoryMB: 512, cpus: 1, pids: 64 },
  env: { A: '1', B: '2' },
  network: { mode: 'allow', allow: ['a.test', 'b.test'] },
  readOnlyRoot: false,
  ...changes,
})

test('the order of keys, of names and of rules makes no difference, and values of the environment are not covered', () => {
  const same = [
    asked({ limits: { pids: 64, cpus: 1, memoryMB: 512 } }),
    asked({ env: { B: 'other', A: 'secret' } }),
    asked({ network: { allow: ['b.test', 'a.test'], mode: 'allow' } }),
  ]
  for (const other of same) expect(configHash(other)).toBe(configHash(asked()))
})

test('whatever else was asked makes another hash', () => {
  const others = [
    asked({ imageDigest: 'sha256:bb' }),
    asked({ driver: 'docker' }),
    asked({ limits: { memoryMB: 513, cpus: 1, pids: 64 } }),
    asked({ env: { A: '1' } }),
    asked({ network: { mode: 'public', allow: ['a.test', 'b.test'] } }),
    asked({ network: { mode: 'allow', allow: ['a.test'] } }),
    asked({ readOnlyRoot: true }),
  ]
  expect(new Set([asked(), ...others].map(configHash)).size).toBe(others.length + 1)
})
