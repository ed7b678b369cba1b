import { execFileSync } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { growthOf, peakBytes } from '../../support/growth.ts'
import { Place, placeOf } from './place.ts'

const MiB = 1024 ** 2
const IMAGE_BYTES = 2048 * MiB
/** What a push of any size may add to a gateway, with the thread for images: SPECIFICATION.md. */
const CEILING = 48 * MiB
/** The command itself, which only tells what the gateway does: Node and its bundle are nearly all of it. */
const COMMAND_CEILING = 80 * MiB

let diffId: string | undefined
const { of: place } = placeOf(
  () => Place.open(),
  300_000,
  async (at) => {
    ;[diffId] = await at.image('big', { layers: 1, layerBytes: IMAGE_BYTES })
  },
)

test.for([
  ['an engine, through the scratch file', 'docker-daemon:big:1'],
  ['the store', 'big'],
] as const)(
  '2 GiB from %s go into a container whole, in constant memory',
  {
    timeout: 300_000,
  },
  async ([, source], context) => {
    const at = place(context)
    let command = 0
    let file = ''
    const grown = await growthOf({ gateway: at.world.gateway.pid }, async () => {
      const push = at.coppice.start(['image', 'push', source, 'container:node:/tmp'])
      let running = true
      void push.ended.finally(() => {
        running = false
      })
      for (; running; await delay(50)) command = Math.max(command, peakBytes(push.child.pid ?? 0))
      const { code, stdout, stderr } = await push.ended
      expect({ code, stderr }).toMatchObject({ code: 0 })
      file = stdout.trim()
    })
    expect(grown.gateway).toBeLessThanOrEqual(CEILING)
    expect(command).toBeGreaterThan(0)
    expect(command).toBeLessThanOrEqual(COMMAND_CEILING)
    expect(at.scratch()).toEqual([])

    const { output: pid } = await at.docker.run('inspect', '--format', '{{.State.Pid}}', 'node')
    const archive = `/proc/${pid.trim()}/root${file}`
    const layer = '$(tar -xOf "$0" manifest.json | sed "s/.*Layers...\\"//; s/\\".*//")'
    // A quarter of the time of sha256sum.
    const sum = execFileSync('sh', ['-c', `tar -xOf "$0" "${layer}" | openssl dgst -sha256 -r`, archive]).toString()
    expect(`sha256:${sum.slice(0, 64)}`).toBe(diffId)
    await at.inNode('rm', file)
  },
)
