import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Driver } from '@coppice/drivers'
import { CoppiceError, CreateSandboxSchema, Progress } from '@coppice/protocol'
import { FileRegistry } from '@coppice/registry'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Origins } from '../checkpoints/origins.ts'
import type { SessionHub } from '../session/hub.ts'
import { ConfigSchema } from '../state/config.ts'
import { Directory } from './directory.ts'
import type { Drivers } from './drivers.ts'
import { endRecord } from './ends.ts'
import type { Launch } from './launch.ts'
import { SandboxRecordSchema } from './record.ts'
import { Sandboxes } from './sandboxes.ts'
import { runningRecord } from './testing/records.ts'

const none = Progress.none()
const broken = new CoppiceError('unavailable', 'init_died', 'It ended at once.')

let dir: string
let directory: Directory
/** Ids that the driver was told to remove. */
let removed: string[]
/** What a start of a sandbox does before it fails. */
let failing: () => void

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-sandboxes-'))
  const registry = await FileRegistry.open(join(dir, 'registry'))
  directory = await Directory.open(registry.kind('sandboxes', (value) => SandboxRecordSchema.parse(value)))
  removed = []
  failing = () => {}
})
afterEach(() => {
  vi.useRealTimers()
  rmSync(dir, { recursive: true, force: true })
})

/** Over a driver on which nothing starts. */
function open(): Sandboxes {
  const driver = {
    name: 'oci',
    capabilities: { readOnlyRoot: true, network: 'none', resize: true },
    remove: async (id: string) => void removed.push(id),
    stop: async () => {},
    resize: async () => {},
    stats: async () => null,
  } as unknown as Driver
  const drivers = { onExit: () => {}, byName: () => driver, choose: async () => driver, all: () => [driver] }
  const fail = async () => {
    failing()
    throw broken
  }
  return new Sandboxes({
    config: ConfigSchema.parse({}),
    directory,
    drivers: drivers as unknown as Drivers,
    hub: { release: () => {}, connected: () => false } as unknown as SessionHub,
    origins: {
      acquire: async (from: string) => ({ image: { digest: 'sha256:1' }, from, release: () => {} }),
    } as unknown as Origins,
    launch: { create: fail, start: fail, tail: async () => '' } as unknown as Launch,
    filesDir: dir,
  })
}

describe('a sandbox that does not start while nothing can be written', () => {
  const entries = () => join(dir, 'registry/sandboxes')

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    failing = () => {
      renameSync(entries(), `${entries()}.away`)
      writeFileSync(entries(), 'no folder')
    }
  })
  const later = (check: () => void) =>
    vi.waitFor(
      () => {
        vi.advanceTimersByTime(5000)
        check()
      },
      { interval: 10, timeout: 15_000 },
    )
  const repair = () => {
    rmSync(entries())
    renameSync(`${entries()}.away`, entries())
  }

  it('is taken back when that can be written again, and its name is free', async () => {
    const request = CreateSandboxSchema.parse({ from: 'base', name: 'web' })
    await expect(open().create(request, none)).rejects.toBe(broken)
    expect(directory.find('web').state).toBe('creating')
    const { id } = directory.find('web')
    vi.advanceTimersByTime(5000)
    await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1))
    repair()
    await later(() => expect(directory.existing()).toEqual([]))
    expect(removed).toEqual([id])
    expect(await directory.findWhole(id)).toMatchObject({ state: 'removed', end: { reason: 'start_failed' } })
  })

  it('is stopped when that can be written again, and can be started', async () => {
    const { id } = await put({ state: 'stopped' })
    const sandboxes = open()
    await expect(sandboxes.start(id, none)).rejects.toBe(broken)
    expect(directory.find(id).state).toBe('starting')
    repair()
    failing = () => {}
    const stopped = { state: 'stopped', end: { reason: 'start_failed' } }
    await later(() => expect(directory.find(id)).toMatchObject(stopped))
    await expect(sandboxes.start(id, none)).rejects.toBe(broken)
  })
})

describe('what was left to do', () => {
  const end = endRecord('removed', 'It was removed on request.')

  it('is done once, however many do it at the same moment', async () => {
    const { id } = await put({ state: 'removing', end, name: 'web' })
    const sandboxes = open()
    const [, answer] = await Promise.all([
      sandboxes.finishLeftovers('oci'),
      sandboxes.remove('web', none),
      sandboxes.finishLeftovers(),
      sandboxes.remove(id, none),
    ])
    expect(answer).toMatchObject({ id, state: 'removed' })
    expect(removed).toEqual([id])
  })

  it('is not done to what somebody removes or starts at that moment', async () => {
    const resizing = { memoryMB: 1024, cpus: 1, pids: 64 }
    const [gone, kept] = [await put({ resizing }), await put({ state: 'stopped', resizing })]
    const sandboxes = open()
    const removing = sandboxes.remove(gone.id, none)
    const starting = sandboxes.start(kept.id, none).catch((error: unknown) => error)
    await sandboxes.finishLeftovers()
    expect(await removing).toMatchObject({ state: 'removed' })
    expect(await starting).toBe(broken)
    expect(directory.find(kept.id)).toMatchObject({ state: 'stopped', resizing: null, limits: resizing })
    expect(removed).toEqual([gone.id])
  })

  it('is not done to a creation of this gateway', async () => {
    const sandboxes = open()
    const { id } = await put({ state: 'creating' })
    await sandboxes.finishLeftovers()
    expect(directory.find(id).state).toBe('creating')
    await open().finishLeftovers()
    expect(removed).toEqual([id])
  })
})

async function put(changes: Parameters<typeof runningRecord>[0]) {
  const record = runningRecord(changes)
  await directory.put(record)
  return record
}
