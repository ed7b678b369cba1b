import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { obstacle, runLimited } from '@coppice/limits/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const STAGE = new URL('./testing/stage-under-limit.ts', import.meta.url).href

describe('staging with few open files', async () => {
  const hard = 10_000
  const reason = await obstacle(hard)
  let dir: string

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'coppice-stage-'))
  })
  afterEach(() => rm(dir, { recursive: true }))

  it('is not begun below 1024, nor with a bad setting', async (ctx) => {
    if (reason) ctx.skip(reason)
    expect((await runLimited({ soft: 256, hard: 512 }, STAGE, [dir])).said).toBe('open_file_limit')
    const bad = { COPPICE_BUILD_NOFILE_LIMIT: 'many' }
    expect((await runLimited({ soft: hard, hard }, STAGE, [dir], bad)).said).toBe('invalid_nofile_limit')
  })

  it('is done where more can be had', { timeout: 60_000 }, async (ctx) => {
    if (reason) ctx.skip(reason)
    expect((await runLimited({ soft: 256, hard }, STAGE, [dir])).said).toBe('done')
  })
})
