import { execFileSync } from 'node:child_process'
import { readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { RunningCommand } from '../../support/command.ts'
import { Place, placeOf } from './place.ts'

const MiB = 1024 ** 2
/** Long enough on its way to be met there. */
const IMAGE_BYTES = 512 * MiB
const LARGE_BYTES = 768 * MiB
/** Longer than a disk that is busy keeps an engine from going on. */
const STALL_SECS = 5

describe('a push into a container', { timeout: 120_000 }, () => {
  const disks = { small: 'size=1m', large: `size=${LARGE_BYTES}` }
  const opened = placeOf(
    () => Place.open(disks),
    240_000,
    async (at) => {
      await at.image('big', { layers: 1, layerBytes: IMAGE_BYTES })
      await manyFiles(at)
    },
  )
  const place = opened.of
  /** Whatever a test did: nothing of it is in the container or with the gateway. */
  afterEach(async () => {
    const at = opened.found
    if (!at) return
    await expect.poll(() => at.scratch(), { timeout: 30_000 }).toEqual([])
    await expect.poll(() => at.inNode('ls', '/tmp', '/small', '/large')).toBe('/large:\n\n/small:\n\n/tmp:')
  }, 60_000)

  const SOURCES = ['big', 'docker-daemon:big:1'] as const
  const IMPORT = ['--import', 'true {file}']
  /** Starts a push and waits until it says that it is at a step. */
  const pushTo = async (at: Place, step: string, ...argv: string[]): Promise<RunningCommand> => {
    const push = at.coppice.start(['image', 'push', ...argv])
    await expect.poll(() => push.stderr, { interval: 5, timeout: 60_000 }).toContain(step)
    return push
  }

  test.for(SOURCES)(
    'for which there is no room is refused with both figures before it begins: %s',
    async (source, context) => {
      const at = place(context)
      const { code, stderr } = await at.coppice.run(['image', 'push', source, 'container:node:/small'])
      expect(code).toBe(125)
      expect(stderr).toMatch(
        /container:node:\/small has 1\.0 MiB free, the image needs 51\d\.\d MiB\. \(resource_exhausted\/no_room\)/,
      )
      expect(stderr).toContain('coppice image push … container:node:/a/folder/with/room')
      expect(stderr).not.toMatch(/Waiting|Exporting|Sending/)
    },
  )

  test('whose export is larger than the engine had said is refused before a byte is sent', async (context) => {
    const at = place(context)
    const { stderr } = await at.coppice.run(['image', 'push', 'docker-daemon:many:1', 'container:node:/small'])
    expect(stderr).toMatch(
      /Exporting many:1[\s\S]*container:node:\/small has 1\.0 MiB free, the image needs [12]\.\d MiB/,
    )
    expect(stderr).not.toContain('Sending')
  })

  test.for([{ importing: [] }, { importing: IMPORT }])(
    'whose place becomes full in the middle says so with both figures: $importing',
    async ({ importing }, context) => {
      const at = place(context)
      const disk = at.disk('large')
      const push = at.coppice.start(['image', 'push', 'big', 'container:node:/large', ...importing])
      const begun = () => readdirSync(disk).some((name) => statSync(join(disk, name)).size > 0)
      await expect.poll(begun, { interval: 5 }).toBe(true)
      try {
        // Half of what was free when the push began.
        execFileSync('fallocate', ['-l', String(LARGE_BYTES / 2), join(disk, 'theirs')])
        const { code, stderr } = await push.ended
        expect(readdirSync(disk)).toEqual(['theirs'])
        expect(code).toBe(125)
        expect(stderr).toMatch(
          /container:node:\/large became full on the way: the image needs 51\d\.\d MiB, 38\d\.\d MiB are free/,
        )
        expect(stderr).toContain('(resource_exhausted/no_room)')
      } finally {
        rmSync(join(disk, 'theirs'))
      }
    },
  )

  test.for([
    ['SIGINT', 'Waiting for the export', SOURCES[1], 130],
    ['SIGTERM', 'Exporting', SOURCES[1], 143],
    ['SIGINT', 'Sending', SOURCES[1], 130],
    ['SIGTERM', 'Sending', SOURCES[0], 143],
  ] as const)(
    'that %s ends while it is “%s” leaves nothing on either side: %s',
    async ([signal, step, source, code], context) => {
      const at = place(context)
      const push = await pushTo(at, step, source, 'container:node', ...IMPORT)
      push.child.kill(signal)
      expect(await push.ended).toMatchObject({ code })
      // The rest is what is looked at after every test.
    },
  )

  test('whose gateway is killed leaves nothing once it runs again', async (context) => {
    const at = place(context)
    const { gateway } = at.world
    const push = await pushTo(at, 'Sending', SOURCES[1], 'container:node', ...IMPORT)
    await gateway.kill()
    expect((await push.ended).code).toBe(125)
    expect(readdirSync(join(gateway.home, 'scratch'))).toEqual([expect.stringMatching(/^staged-/)])
    expect(await at.inNode('ls', '/tmp')).toMatch(/^coppice-[0-9a-f]+\.tar$/)
    await gateway.start()
  })

  describe('of a gateway that soon gives up', () => {
    const startAnew = async (env: Record<string, string>): Promise<void> => {
      await opened.found?.world.gateway.stop()
      await opened.found?.world.gateway.start(env)
    }
    beforeAll(() => startAnew({ COPPICE_TRANSFER_STALL_SECS: String(STALL_SECS) }))
    afterAll(() => startAnew({}))

    test.for(['Waiting for the export', 'Exporting', 'Sending'])(
      'whose engine falls silent while it is “%s” ends with a typed time-out',
      async (step, context) => {
        const at = place(context)
        const push = await pushTo(at, step, SOURCES[1], 'container:node', ...IMPORT)
        at.docker.freeze()
        try {
          if (step === 'Sending') await expect.poll(() => push.stderr, { timeout: 30_000 }).toContain('Removing')
          else await push.ended
        } finally {
          at.docker.thaw()
        }
        const { code, stderr } = await push.ended
        expect(code).toBe(125)
        expect(stderr).toContain(`for ${STALL_SECS} s. (deadline_exceeded/transfer_stalled)`)
      },
    )
  })

  test('whose container is removed in the middle says that, and ends', async (context) => {
    const at = place(context)
    await at.container('passing')
    const push = await pushTo(at, 'Sending', SOURCES[0], 'container:passing', ...IMPORT)
    await at.docker.run('rm', '--force', 'passing')
    const { code, stderr } = await push.ended
    expect(code).toBe(125)
    expect(stderr).toContain('coppice: container:passing has ended in the middle of the push.')
  })
})

describe('a push through a scratch folder on a small disk', { timeout: 60_000 }, () => {
  const open = () => Place.open({ scratch: 'size=1m,mode=700' }, { COPPICE_SCRATCH_DIR: '{scratch}' })
  const { of: place } = placeOf(open, 120_000, async (at) => {
    await at.image('more', { layers: 1, layerBytes: 2 * MiB })
    await manyFiles(at)
  })

  test('is refused with both figures before the export begins', async (context) => {
    const at = place(context)
    const { code, stderr } = await at.coppice.run(['image', 'push', 'docker-daemon:more:1', 'container:node:/tmp'])
    expect(code).toBe(125)
    expect(stderr).toMatch(
      /The scratch folder \/.*\/scratch has 1\.0 MiB free, the image needs [12]\.\d MiB\. \(resource_exhausted\/no_room\)/,
    )
    expect(stderr).toContain('COPPICE_SCRATCH_DIR=/a/folder/with/room')
    expect(stderr).not.toContain('Waiting')
  })

  test('that becomes full in the middle says so with both figures, and leaves nothing', async (context) => {
    const at = place(context)
    const { code, stderr } = await at.coppice.run(['image', 'push', 'docker-daemon:many:1', 'container:node:/tmp'])
    expect(code).toBe(125)
    expect(stderr).toMatch(
      /The scratch folder \/.*\/scratch became full on the way: the image needs [\d.]+ MiB, 1\.0 MiB are free/,
    )
    expect(stderr).toContain('COPPICE_SCRATCH_DIR=/a/folder/with/room')
    expect([at.scratch(), readdirSync(at.disk('scratch')), await at.inNode('ls', '/tmp')]).toEqual([[], [], ''])
  })

  test('is not needed by an image of the store', async (context) => {
    const at = place(context)
    expect(await at.coppice.run(['image', 'push', 'more', 'container:node', '--import', 'true {file}'])).toMatchObject({
      code: 0,
    })
  })

  test('is said at the start of the gateway, because it is in memory', (context) => {
    expect(place(context).world.gateway.log()).toMatch(/The scratch folder .* is a tmpfs of 1 MiB/)
  })
})

/** An image whose archive is much larger than the engine's figure, which counts what is in its files: one byte each. */
async function manyFiles({ dir, docker }: Place): Promise<void> {
  const script = 'mkdir many && cd many && for i in $(seq 2000); do printf x > $i; done && tar -cf ../many.tar .'
  execFileSync('sh', ['-c', script], { cwd: dir })
  await docker.run('import', join(dir, 'many.tar'), 'many:1')
}
