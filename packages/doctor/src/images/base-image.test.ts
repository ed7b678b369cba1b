import { createHash } from 'node:crypto'
import { rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { detect, makeHome, plant, snapshot } from '../testing/home.ts'
import { baseImageCheck } from './base-image.ts'

let home: string
let manifest: string
let layer: string
beforeEach(() => {
  home = makeHome()
  const blob = (bytes: string) => {
    const hex = createHash('sha256').update(bytes).digest('hex')
    const path = plant(home, join('store', 'blobs', 'sha256', hex), bytes)
    return { path, digest: `sha256:${hex}`, size: Buffer.byteLength(bytes) }
  }
  const config = blob('{}')
  const data = blob('layer')
  const made = blob(JSON.stringify({ schemaVersion: 2, config, layers: [data] }))
  manifest = made.path
  layer = data.path
  const annotations = { 'org.opencontainers.image.ref.name': 'base' }
  plant(home, 'store/index.json', JSON.stringify({ schemaVersion: 2, manifests: [{ ...made, annotations }] }))
})

describe('the base image', () => {
  it('is in order when it is whole, and a look changes nothing', async () => {
    const before = snapshot(home)
    expect(await detect(baseImageCheck, home)).toEqual([])
    expect(snapshot(home)).toEqual(before)
  })

  it('that is not there is told, with or without a store', async () => {
    const hint = 'coppice image bootstrap'
    expect(await detect(baseImageCheck, makeHome())).toMatchObject([{ severity: 'warning', hint }])
    plant(home, 'store/index.json', '{"manifests":[{"digest":"x"}]}')
    expect(await detect(baseImageCheck, home)).toMatchObject([{ severity: 'warning', hint }])
  })

  it.each([
    ['a layer that is gone', () => rmSync(layer)],
    ['a layer that was cut', () => truncateSync(layer, 2)],
    ['a manifest that is gone', () => rmSync(manifest)],
    ['a manifest that was changed', () => writeFileSync(manifest, '{"layers":[]}')],
  ])('that is damaged is told: %s', async (_, damage) => {
    damage()
    expect(await detect(baseImageCheck, home)).toMatchObject([
      { severity: 'error', hint: 'coppice image rm base && coppice image bootstrap' },
    ])
  })
})
