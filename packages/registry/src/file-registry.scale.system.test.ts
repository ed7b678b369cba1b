import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fillKind } from './testing/fill.ts'
import type { Measured } from './testing/measure.ts'
import { measureAnew } from './testing/measure-anew.ts'

const ENTRIES = 10_000

describe(`registry of ${ENTRIES} entries`, () => {
  let place: string

  beforeAll(async () => {
    place = await mkdtemp(join(tmpdir(), 'coppice-registry-scale-'))
    await mkdir(join(place, 'sandboxes'))
    // Made readable for the other user, except for those that are to be unreadable.
    await fillKind(place, 'sandboxes', ENTRIES, (at) =>
      at % 1000 === 7 ? 'corrupt' : at % 1000 === 8 ? 'closed' : 'good',
    )
    for (const path of [place, join(place, 'sandboxes')]) await chmod(path, 0o755)
  })
  afterAll(() => rm(place, { recursive: true, force: true }))

  it('reads one in under 1 ms, and lists all in under 400 ms without holding the event loop over 20 ms', async () => {
    // The bounds are the store's; a neighbour on the machine may spoil a try, not eight.
    const tries: Measured[] = []
    for (let at = 0; at < 8; at++) {
      const measured = await measureAnew(place, 65_534)
      expect(measured).toMatchObject({ listed: ENTRIES - 20, corrupt: 10, unreadable: 10 })
      tries.push(measured)
      if (measured.readP99Ms < 1 && measured.listMs < 400 && measured.heldMs <= 20) break
    }
    expect(Math.min(...tries.map((measured) => measured.readP99Ms))).toBeLessThan(1)
    expect(Math.min(...tries.map((measured) => measured.listMs))).toBeLessThan(400)
    expect(Math.min(...tries.map((measured) => measured.heldMs))).toBeLessThanOrEqual(20)
  })
})
