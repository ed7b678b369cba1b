import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { RESERVE_BYTES, Reserve } from './reserve.ts'

let dir: string
let path: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-reserve-'))
  path = join(dir, 'reserve')
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const full = () => Object.assign(new Error('no room'), { code: 'ENOSPC' })
const size = () => statSync(path, { throwIfNoEntry: false })?.size

it('is there once for any number of processes, which take it and give it back at the same time', async () => {
  const reserves = Array.from({ length: 8 }, () => new Reserve(dir))
  await Promise.all(reserves.map((reserve) => reserve.fill()))
  expect(size()).toBe(RESERVE_BYTES)
  // There is room for as long as nobody has the reserve.
  const work = async () => {
    if (size() !== undefined) throw full()
  }
  await Promise.all(reserves.map((reserve) => reserve.lend(work)))
  await Promise.all(reserves.map((reserve) => reserve.fill()))
  expect(size()).toBe(RESERVE_BYTES)
})

it('that somebody has removed is missed by who needs it, and is there again', async () => {
  const reserve = new Reserve(dir)
  await reserve.fill()
  rmSync(path)
  const work = () => Promise.reject(full())
  await expect(reserve.lend(work)).rejects.toMatchObject({ code: 'ENOSPC' })
  await reserve.refill()
  expect(size()).toBe(RESERVE_BYTES)
})

it('takes the place of half of one, and of a pipe, which nobody reads', async () => {
  writeFileSync(path, 'half')
  await new Reserve(dir).fill()
  expect(size()).toBe(RESERVE_BYTES)
  rmSync(path)
  execFileSync('mkfifo', [path])
  await new Reserve(dir).fill()
  expect(statSync(path).isFile()).toBe(true)
})

it('leaves a folder of its name alone, and lends nothing then', async () => {
  mkdirSync(path)
  const reserve = new Reserve(dir)
  await reserve.fill()
  let tries = 0
  const work = () => {
    tries += 1
    return Promise.reject(full())
  }
  await expect(reserve.lend(work)).rejects.toMatchObject({ code: 'ENOSPC' })
  expect([tries, statSync(path).isDirectory()]).toEqual([2, true])
  rmSync(path, { recursive: true })
  await reserve.refill()
  expect(size()).toBe(RESERVE_BYTES)
})
