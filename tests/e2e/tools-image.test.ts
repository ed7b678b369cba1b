// The image that other tests run real tools in: what it has.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { importTools, TOOLS_IMAGE } from '../support/tools-image.ts'
import { openWorld, type World } from '../support/world.ts'

let world: World
beforeAll(async () => {
  world = await openWorld()
  await importTools(world.client)
}, 900_000)
afterAll(() => world?.dispose())

describe('the image of tools', () => {
  it('has everything that agents fetch things with', async () => {
    const sandbox = await world.create({ from: TOOLS_IMAGE, memoryMB: 1024 })
    for (const [command, answer] of [
      ['apt-get --version', /^apt 2/],
      ['curl --version', /^curl \d/],
      ['wget --version', /^GNU Wget/],
      ['git --version', /^git version/],
      ['openssl version', /^OpenSSL/],
      ['python3 -m pip --version', /^pip \d/],
      ['python3 -m venv /tmp/venv && /tmp/venv/bin/pip --version', /^pip \d/],
      ['node --version', new RegExp(`^${process.version}`)],
      ['npm --version', /^11\./],
      ['id -un; sudo -n id -un', /^user\nroot\n$/],
    ] as const) {
      const { exitCode, stdout, stderr } = await sandbox.exec(['sh', '-c', command])
      expect({ command, exitCode, stderr, stdout }).toMatchObject({
        exitCode: 0,
        stdout: expect.stringMatching(answer),
      })
    }
  })
})
