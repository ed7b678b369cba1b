import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type Home, openHome } from '../state/home.ts'
import { BuildTags } from './build-tags.ts'

let home: Home
let said: string[]
beforeEach(() => {
  home = openHome(mkdtempSync(join(tmpdir(), 'coppice-tags-')))
  mkdirSync(home.scratch)
  said = []
  vi.stubEnv('DOCKER_HOST', `unix://${home.dir}/nobody.sock`)
})
afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(home.dir, { recursive: true, force: true })
})

test('what a killed gateway has left in an engine waits for the next start when the engine does not answer', async () => {
  writeFileSync(join(home.scratch, 'building-docker'), '')
  await new BuildTags(home).sweep((message) => said.push(message))
  expect(said).toEqual([expect.stringMatching(/docker stays until the next start: .*nobody\.sock/)])
  expect(readdirSync(home.scratch)).toEqual(['building-docker'])
})

test('no engine is asked when nothing was left', async () => {
  await new BuildTags(home).sweep((message) => said.push(message))
  expect(said).toEqual([])
})
