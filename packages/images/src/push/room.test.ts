import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Place, requireRoom, type Space, spaceOf } from './room.ts'

const place = (name: string, space: Space | null): Place => ({ name, space, hint: `more for ${name}` })
const space = (freeBytes: number, device: number | null, totalBytes = 10_000_000): Space => ({
  freeBytes,
  totalBytes,
  device,
})

test('too little room is refused with both figures and what helps', () => {
  expect(() =>
    requireRoom(2_000_000, [place('here', space(3_000_000, 1)), place('there', space(1_500_000, 2))]),
  ).toThrow(
    expect.objectContaining({
      code: 'resource_exhausted',
      reason: 'no_room',
      message: 'there has 1.4 MiB free, the image needs 1.9 MiB.',
      facts: { where: 'there', neededBytes: 2_000_000, freeBytes: 1_500_000 },
      hint: 'more for there',
    }),
  )
})

test.each([
  ['one number', space(3_000_000, 1), space(3_000_000, 1)],
  ['an overlay with the figures of the other', space(3_000_000, 1), space(3_000_000, null)],
])('two places on one disk, by %s, need room for both', (_how, here, there) => {
  expect(() => requireRoom(2_000_000, [place('here', here), place('there', there)])).toThrow(
    expect.objectContaining({ facts: { where: 'here and there', neededBytes: 4_000_000, freeBytes: 3_000_000 } }),
  )
})

test('what nobody knows, and two disks that look alike, are given a try', () => {
  requireRoom(2_000_000, [place('here', space(3_000_000, 1)), place('there', null)])
  requireRoom(2_000_000, [place('here', space(3_000_000, 1)), place('there', space(3_000_000, 2))])
})

test('a folder says how much room it has', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'coppice-room-'))
  const found = await spaceOf(dir)
  expect(found?.freeBytes).toBeGreaterThan(0)
  expect(found?.totalBytes).toBeGreaterThan(found?.freeBytes ?? 0)
  rmSync(dir, { recursive: true })
  await expect(spaceOf(dir)).rejects.toMatchObject({ code: 'ENOENT' })
})
