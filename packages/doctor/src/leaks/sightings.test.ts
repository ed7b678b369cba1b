import { beforeEach, expect, it } from 'vitest'
import { CountingClock } from '../testing/clock.ts'
import { SETTLE_MS, Sightings } from './sightings.ts'

const AGES = 10 * 60_000
const { signal } = new AbortController()

let clock: CountingClock
let sightings: Sightings
beforeEach(() => {
  clock = new CountingClock()
  sightings = new Sightings(clock)
})

/** What is there, which a test changes, and what a check takes for a leak. */
function subject(name: string, ...paths: string[]) {
  const there = new Set(paths)
  const looked: number[] = []
  const look = async () => {
    looked.push(clock.now())
    return [...there].map((path) => ({ path }))
  }
  const leaks = async () => (await sightings.twice(name, look, signal)).map(({ path }) => path)
  return { there, looked, look, leaks }
}

it('what two looks find with time between is a leak, and what only one of them finds is none', async () => {
  const { there, looked, leaks } = subject('mounts', '/kept', '/given-back')
  const wait = clock.wait.bind(clock)
  clock.wait = async (until) => {
    await wait(until)
    there.delete('/given-back')
    there.add('/new')
  }
  expect(await leaks()).toEqual(['/kept'])
  expect(looked).toEqual([0, SETTLE_MS])
})

it('nothing is not waited for', async () => {
  expect(await subject('mounts').leaks()).toEqual([])
  expect(clock.waits).toBe(0)
})

it('what was seen twice is looked at again and not waited for again', async () => {
  const { looked, leaks } = subject('mounts', '/a')
  for (let time = 0; time < 3; time += 1) expect(await leaks()).toEqual(['/a'])
  expect({ waits: clock.waits, looks: looked.length }).toEqual({ waits: 1, looks: 4 })
})

it('what is new, or was away in between, is waited for', async () => {
  const { there, leaks } = subject('mounts', '/a')
  await leaks()
  there.add('/new')
  expect(await leaks()).toEqual(['/a', '/new'])
  expect(clock.waits).toBe(2)
  there.delete('/a')
  expect(await leaks()).toEqual(['/new'])
  expect(clock.waits).toBe(2)
  there.add('/a')
  expect(await leaks()).toEqual(['/new', '/a'])
  expect(clock.waits).toBe(3)
})

it('what was seen long ago is waited for: it may have been in use since', async () => {
  const { leaks } = subject('mounts', '/a')
  await leaks()
  clock.pass(AGES)
  expect(await leaks()).toEqual(['/a'])
  expect(clock.waits).toBe(2)
})

it('one subject is not taken for another one', async () => {
  await subject('mounts', '/a').leaks()
  await subject('cgroups', '/a').leaks()
  expect(clock.waits).toBe(2)
})

it('several subjects that were seen long ago share one wait, and each is looked at before it and after it', async () => {
  const subjects = ['mounts', 'cgroups', 'folders'].map((name) => subject(name, `/${name}`))
  clock.sideBySide = subjects.length
  await Promise.all(subjects.map(({ leaks }) => leaks()))
  clock.sideBySide = 1
  clock.pass(AGES)
  const before = { at: clock.now(), waits: clock.waits }
  for (const { looked, leaks } of subjects) {
    expect(await leaks()).toHaveLength(1)
    expect(looked).toEqual(expect.arrayContaining([before.at, before.at + SETTLE_MS]))
  }
  expect(clock.waits - before.waits).toBe(1)
})

it('a subject that cannot be looked at is told to who asks for it, and hinders no other one', async () => {
  const [mounts, cgroups] = [subject('mounts', '/a'), subject('cgroups', '/b')]
  await cgroups.leaks()
  clock.pass(AGES)
  const broken = Object.assign(new Error('gone'), { code: 'EIO' })
  const failing = () => sightings.twice('cgroups', () => Promise.reject(broken), signal)
  await expect(failing()).rejects.toBe(broken)
  expect(await mounts.leaks()).toEqual(['/a'])
  await expect(failing()).rejects.toBe(broken)
})

it('a wait ends when its check does', async () => {
  const { look } = subject('mounts', '/a')
  const real = new Sightings()
  const ended = new AbortController()
  const waits = real.twice('mounts', look, ended.signal)
  ended.abort()
  await expect(waits).rejects.toThrow()
})
