import { expect, test } from 'vitest'
import { socketPath } from './address.ts'

test('a unix socket is named by a URL or by its path', () => {
  expect(socketPath('unix:///var/run/docker.sock')).toBe('/var/run/docker.sock')
  expect(socketPath('unix://var/run/docker.sock')).toBe('/var/run/docker.sock')
  expect(socketPath(' /run/podman/podman.sock ')).toBe('/run/podman/podman.sock')
})

test('an engine of another host is unsupported, and said so without its password', () => {
  for (const address of [
    'tcp://10.0.0.1:2375',
    'ssh://user:secret@build.example/run/podman.sock',
    'npipe:////./pipe/docker',
  ]) {
    const error = caught(() => socketPath(address))
    expect(error).toMatchObject({
      code: 'unsupported',
      reason: 'engine_elsewhere',
      hint: expect.stringMatching(/unix:/),
    })
    expect(JSON.stringify(error)).not.toContain('secret')
  }
})

test('what is no address is refused', () => {
  for (const address of ['', 'docker', 'unix://', 'unix:///', 'relative/docker.sock']) {
    expect(caught(() => socketPath(address))).toMatchObject({ code: 'invalid_argument', reason: 'bad_engine_address' })
  }
})

function caught(call: () => unknown): unknown {
  try {
    call()
  } catch (error) {
    return error
  }
  throw new Error('it did not throw')
}
