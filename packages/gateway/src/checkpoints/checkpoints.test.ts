import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { Driver, SavedFiles } from '@coppice/drivers'
import type { ResolvedImage } from '@coppice/images'
import { CoppiceError, isCheckpointId, newCheckpointId, Progress } from '@coppice/protocol'
import { FileRegistry } from '@coppice/registry'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Images } from '../images/images.ts'
import type { Drivers } from '../sandboxes/drivers.ts'
import type { SandboxRecord } from '../sandboxes/record.ts'
import { Checkpoints } from './checkpoints.ts'
import { CheckpointDirectory } from './directory.ts'
import { Origins } from './origins.ts'
import { type CheckpointRecord, CheckpointRecordSchema } from './record.ts'

let dir: string
let directory: CheckpointDirectory
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-checkpoints-'))
  directory = await open()
})
afterEach(() => rmSync(dir, { recursive: true }))

const open = async () => {
  const registry = await FileRegistry.open(dir)
  return CheckpointDirectory.open(registry.kind('checkpoints', (value) => CheckpointRecordSchema.parse(value)))
}
const record = (changes: Partial<CheckpointRecord> = {}): CheckpointRecord => ({
  id: newCheckpointId(),
  name: null,
  key: null,
  state: 'ready',
  kind: 'filesystem',
  sandboxId: 'sb-1',
  sandboxName: null,
  image: 'base',
  imageDigest: 'sha256:1',
  driver: 'oci',
  limits: { memoryMB: 64, cpus: 1, pids: 64 },
  createdAt: 1,
  sizeBytes: 1024,
  ...changes,
})

describe('the checkpoints of a gateway', () => {
  it('are found by id and by name, also by the next gateway, oldest first', async () => {
    const [second, first] = [record({ name: 'ready', createdAt: 2 }), record()]
    for (const each of [second, first]) await directory.put(each)
    for (const each of [directory, await open()]) {
      expect(each.ready()).toEqual([first, second])
      expect([each.find(first.id), each.find('ready')]).toEqual([first, second])
      expect(each.holds('sha256:1')).toBe(true)
    }
    expect(() => directory.find('nobody')).toThrow(expect.objectContaining({ reason: 'checkpoint_not_found' }))
  })

  it('have names that are taken from the intent on, and free again when it is taken back', async () => {
    const taken = record({ name: 'one', state: 'creating', imageDigest: '' })
    await directory.put(taken)
    await expect(directory.put(record({ name: 'one' }))).rejects.toMatchObject({ reason: 'name_taken' })
    await directory.remove(taken.id)
    await directory.put(record({ name: 'one' }))
    const at = [directory.put(record({ name: 'two' })), directory.put(record({ name: 'two' }))]
    expect((await Promise.allSettled(at)).map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  })

  it('are not shown or used before they are whole', async () => {
    const half = record({ name: 'half', state: 'creating', imageDigest: '' })
    await directory.put(half)
    expect([directory.ready(), directory.creating()]).toEqual([[], [half]])
    for (const text of [half.id, 'half']) expect(() => directory.find(text)).toThrow(CoppiceError)
    expect(directory.byName('half')).toBeUndefined()
    const whole = await directory.update(half.id, (current) => ({
      ...current,
      state: 'ready',
      imageDigest: 'sha256:2',
    }))
    expect(directory.find('half')).toEqual(whole)
  })
})

describe('a checkpoint that is being made', () => {
  const half = () => record({ name: 'half', state: 'creating', imageDigest: '' })

  it('gives its name back at once when it fails, also where the disk takes no change', async () => {
    const intent = half()
    await directory.put(intent)
    const entries = join(dir, 'checkpoints')
    renameSync(entries, `${entries}.away`)
    writeFileSync(entries, 'no folder')
    await expect(directory.forget(intent.id)).rejects.toThrow()
    rmSync(entries)
    renameSync(`${entries}.away`, entries)
    await directory.put(record({ name: 'half' }))
    expect((await open()).creating()).toEqual([intent])
  })

  it('is taken back when the gateway ends, which waits for its sandbox to go on', async () => {
    let frozen = false
    const begun = Promise.withResolvers<void>()
    // Holds still until it is told that nobody wants it, and a little longer.
    const saveFiles = async (_id: string, progress: Progress): Promise<SavedFiles> => {
      frozen = true
      begun.resolve()
      try {
        return await progress.race(new Promise<never>(() => {}))
      } finally {
        await setImmediate()
        frozen = false
      }
    }
    const sandbox = {
      id: 'sb-1',
      name: null,
      image: 'base',
      imageDigest: 'sha256:1',
      driver: 'oci',
      limits: half().limits,
    }
    const checkpoints = new Checkpoints({
      directory,
      sandboxes: { between: (_id, _verb, work) => work(sandbox as SandboxRecord, { saveFiles } as unknown as Driver) },
      drivers: {} as Drivers,
      images: { acquire: async () => ({ release: () => {} }), collect: async () => [] } as unknown as Images,
      log: () => {},
    })
    const making = checkpoints.create('sb-1', { name: 'half' }, Progress.none())
    const refused = expect(making).rejects.toMatchObject({ code: 'cancelled' })
    await begun.promise
    await checkpoints.close()
    expect(frozen).toBe(false)
    expect(directory.creating()).toEqual([])
    await refused
    await expect(checkpoints.create('sb-1', { name: 'late' }, Progress.none())).rejects.toMatchObject({
      code: 'cancelled',
    })
  })
})

describe('a sandbox is made from', () => {
  const stored = new Map([
    ['app', 'sha256:a'],
    ['both', 'sha256:b'],
    ['sha256:1', 'sha256:1'],
  ])
  const images = {
    acquire: async (reference: string) => {
      const digest = stored.get(reference)
      if (digest === undefined) throw new CoppiceError('not_found', 'image_not_found', 'There is none.')
      return { image: { digest } as ResolvedImage, release: () => {} }
    },
  }
  const from = async (text: string) => {
    const { image, from: said } = await new Origins(images, directory).acquire(text)
    return [image.digest, said]
  }

  it('an image, a checkpoint by its id, or by its name where no image has it', async () => {
    const [both, own] = [record({ name: 'both' }), record({ name: 'own' })]
    for (const each of [both, own]) await directory.put(each)
    expect(await from('app')).toEqual(['sha256:a', 'app'])
    expect(await from('both')).toEqual(['sha256:b', 'both'])
    expect(await from('own')).toEqual(['sha256:1', own.id])
    expect(await from(both.id)).toEqual(['sha256:1', both.id])
  })

  it('nothing that is not there: said as a checkpoint where it has the form of one', async () => {
    await expect(from('nobody')).rejects.toMatchObject({ reason: 'image_not_found' })
    await expect(from('cp-00000000000000')).rejects.toMatchObject({ reason: 'checkpoint_not_found' })
    expect(['cp-00000000000000', 'cp-0', 'cp-0000000000000l', 'xcp-00000000000000'].map(isCheckpointId)).toEqual([
      true,
      false,
      false,
      false,
    ])
  })
})
