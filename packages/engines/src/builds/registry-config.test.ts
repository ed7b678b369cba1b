import { Progress } from '@coppice/protocol/wire'
import { expect, test } from 'vitest'
import { registryConfig } from './registry-config.ts'

test('a builder that does not ask is told who asks the registries that are named, where somebody is known', async () => {
  const logins: Record<string, { username: string; secret: string }> = {
    'docker.io': { username: 'me', secret: 'wörd>>>???' },
    'r.example:5000': { username: '', secret: 'token' },
  }
  const findLogin = async (host: string) => logins[host]
  const registries = ['docker.io', 'r.example:5000', 'unknown.example']
  const { 'x-registry-config': header = '' } = await registryConfig({ findLogin, registries }, Progress.none())
  expect(header).toMatch(/^[A-Za-z0-9_-]+={0,2}$/)
  expect(header.length % 4).toBe(0)
  expect(JSON.parse(Buffer.from(header, 'base64url').toString())).toEqual({
    'https://index.docker.io/v1/': { username: 'me', password: 'wörd>>>???' },
    'r.example:5000': { identitytoken: 'token' },
  })
  expect(await registryConfig({ findLogin, registries: ['unknown.example'] }, Progress.none())).toEqual({})
  expect(await registryConfig({ findLogin }, Progress.none())).toEqual({})
})
