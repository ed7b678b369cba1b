import { renameSync, writeFileSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { BlobDraft } from './blob-draft.ts'
import { digestOf } from './digest.ts'
import { Partials } from './partials.ts'

let dir: string
let partials: Partials
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'coppice-partials-'))
  partials = await Partials.open(join(dir, 'partial'))
})
afterEach(() => rm(dir, { recursive: true }))

it('a download that begins while an old beginning of it is removed is whole in its place', async () => {
  const whole = Buffer.from('old and new')
  const digest = digestOf(whole)
  writeFileSync(partials.path(digest), 'old')
  let draft: Promise<BlobDraft> | undefined
  const removed = await partials.remove(() => {
    // In the step after the decision, as soon as anybody can.
    queueMicrotask(() => {
      draft = BlobDraft.resume(partials.path(digest), whole.length, Progress.none())
    })
    return true
  })
  expect(removed).toEqual({ count: 1, bytes: 3 })
  const resumed = await draft
  if (!resumed) throw new Error('nobody went on with it')
  resumed.write(whole.subarray(resumed.size))
  await resumed.finish({ digest })
  renameSync(resumed.path, join(dir, 'blob'))
  expect(await readdir(partials.dir)).toEqual([])
})

it('what a removal that was killed has left goes with the next one', async () => {
  writeFileSync(`${partials.path(digestOf(Buffer.from('x')))}.removed`, 'old')
  await partials.remove((digest) => /^sha256:[0-9a-f]{64}$/.test(digest))
  expect(await readdir(partials.dir)).toEqual([])
})
