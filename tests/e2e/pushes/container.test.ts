import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { Place, placeOf } from './place.ts'

describe('an image goes into a container', { timeout: 120_000 }, () => {
  const { of: place } = placeOf(() => Place.open(), 120_000)

  test('and is imported there by its command, which leaves nothing behind', async (context) => {
    const at = place(context)
    const push = ['image', 'push', 'busybox', 'container:node', '--import', 'tar -tf {file} > /imported']
    expect(await at.coppice.run(push)).toMatchObject({ code: 0 })
    expect(await at.inNode('cat', '/imported')).toContain('manifest.json')
    expect(await at.inNode('ls', '/tmp')).toBe('')
  })

  test('from the engine, through one scratch file that is gone after it', async (context) => {
    const at = place(context)
    const push = ['image', 'push', 'docker-daemon:busybox:1', 'container:node:/tmp']
    const { code, stdout } = await at.coppice.run(push)
    expect({ code, stdout }).toEqual({ code: 0, stdout: '/tmp/busybox-1.tar\n' })
    const saved = execFileSync('sh', ['-c', `docker -H unix://${at.docker.socket} save busybox:1 | sha256sum`])
    expect((await at.inNode('sha256sum', stdout.trim())).slice(0, 64)).toBe(saved.toString().slice(0, 64))
    expect(at.scratch()).toEqual([])
    await at.inNode('rm', stdout.trim())
  })

  test('and a failing import says how it ended, and leaves nothing either', async (context) => {
    const at = place(context)
    const push = ['image', 'push', 'busybox', 'container:node', '--import', 'echo no room for {file} >&2; exit 7']
    const { code, stderr } = await at.coppice.run(push)
    expect(code).toBe(125)
    expect(stderr).toMatch(/ended with 7.*no room/s)
    expect(await at.inNode('ls', '/tmp')).toBe('')
  })

  test('whose /tmp is in memory, where Docker puts nothing that it can see: like a node of kind', async (context) => {
    const at = place(context)
    await at.container('kind', '--tmpfs', '/tmp')
    const push = (target: string, ...more: string[]) => at.coppice.run(['image', 'push', 'busybox', target, ...more])
    const imported = await push('container:kind', '--import', 'tar -tf {file} && echo from {file}')
    expect(imported).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/manifest\.json[\s\S]*\nfrom \/(var\/tmp\/)?coppice-\w+\.tar/),
    })
    const refused = await push('container:kind:/tmp')
    expect(refused).toMatchObject({ code: 125, stdout: '' })
    expect(refused.stderr).toMatch(
      /\/tmp in the container kind is a tmpfs[\s\S]*coppice image push … container:kind:\/a\/folder/,
    )
    expect(refused.stderr).not.toContain('Sending')
    const changed = (await at.docker.run('diff', 'kind')).output
    expect(changed).not.toContain('.tar')
    await at.docker.run('rm', '--force', 'kind')
  })

  test('and a folder that is not there, or is none, is named before the export begins', async (context) => {
    const at = place(context)
    const push = (folder: string) =>
      at.coppice.run(['image', 'push', 'docker-daemon:busybox:1', `container:node:${folder}`])
    const missing = await push('/nowhere')
    expect(missing.stderr).toMatch(
      /There is no folder \/nowhere in the container node[\s\S]*docker exec node mkdir -p \/nowhere/,
    )
    const file = await push('/bin/busybox')
    expect(file.stderr).toContain('/bin/busybox in the container node is no folder')
    expect([missing.code, file.code, missing.stderr.includes('Waiting')]).toEqual([125, 125, false])
  })

  test('and one that is not there, or does not run, is named', async (context) => {
    const at = place(context)
    expect((await at.coppice.run(['image', 'push', 'busybox', 'container:nobody'])).stderr).toContain('nobody')
    await at.container('stopped')
    await at.docker.run('kill', 'stopped')
    const { stderr } = await at.coppice.run(['image', 'push', 'busybox', 'container:stopped'])
    expect(stderr).toMatch(/stopped does not run[\s\S]*docker start stopped/)
  })

  test('with progress as lines, each of a step that was taken, and as JSON for programs', async (context) => {
    const at = place(context)
    await at.image('lines', { layers: 1, layerBytes: 250 * 1024 ** 2 })
    const push = ['image', 'push', 'docker-daemon:lines:1', 'container:node', '--import', 'true {file}']
    const { stderr } = await at.coppice.run(push)
    const lines = stderr.trim().split('\n')
    const [exporting, sending] = ['Exporting lines:1', 'Sending to container:node']
    expect(lines.filter((line) => !/^Removing | of 250 MiB$/.test(line))).toEqual([
      'Waiting for the export of lines:1',
      exporting,
      sending,
      'Importing in container:node',
    ])
    for (const step of [exporting, sending]) {
      const counted = [100, 200, 250].map((count) => `${step}  ${count} MiB of 250 MiB`)
      // What is at the next within a tenth of a second need not have been seen at one. The end is always told.
      const told = lines.slice(lines.indexOf(step) + 1).filter((line) => line.startsWith(`${step}  `))
      expect(told.at(-1)).toBe(counted.at(-1))
      expect(counted).toEqual(expect.arrayContaining(told))
      expect(told).toEqual([...new Set(told)])
    }
    const json = await at.coppice.run([...push, '--json'])
    const events = json.stderr
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const sent = events.filter(({ message }) => message === 'Sending to container:node')
    expect(sent.at(-1)).toEqual({
      event: 'progress',
      message: 'Sending to container:node',
      done: JSON.parse(json.stdout).sizeBytes,
      total: JSON.parse(json.stdout).sizeBytes,
      unit: 'bytes',
    })
  })
})
