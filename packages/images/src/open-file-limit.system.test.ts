import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { obstacle, runLimited } from '@coppice/limits/testing'
import { Progress } from '@coppice/protocol/wire'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ImageStore } from './image-store.ts'
import { makeBusyboxArchive } from './testing/busybox.ts'

const UNDER_LIMIT = new URL('./testing/under-limit.ts', import.meta.url).href

describe('with few open files', async () => {
  const hard = 10_000
  const reason = await obstacle(hard)
  let dir: string
  let archive: string
  const attempt = async (what: string, limits: { soft: number; hard: number }, env: NodeJS.ProcessEnv = {}) => {
    const subject = what === 'unpack' ? 'present' : archive
    return (await runLimited(limits, UNDER_LIMIT, [what, join(dir, 'store'), subject], env)).said
  }

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'coppice-few-files-'))
    archive = await makeBusyboxArchive(join(dir, 'busybox.tar'))
    const store = await ImageStore.open(join(dir, 'store'))
    await store.import(archive, { name: 'present' }, Progress.none())
  })
  afterAll(() => rm(dir, { recursive: true, force: true }))

  it.for(['import', 'import-stream', 'pull', 'unpack', 'bootstrap'])(
    '%s is not begun below 1024',
    async (what, ctx) => {
      if (reason) ctx.skip(reason)
      if (what === 'bootstrap' && process.geteuid?.() !== 0) ctx.skip('needs root')
      expect(await attempt(what, { soft: 256, hard: 512 })).toBe('open_file_limit')
      expect(await attempt(what, { soft: hard, hard }, { COPPICE_BUILD_NOFILE_LIMIT: '12' })).toBe(
        'invalid_nofile_limit',
      )
    },
  )

  it('an import is done where more can be had, and the programs of the host have it', async (ctx) => {
    if (reason) ctx.skip(reason)
    expect(await attempt('import', { soft: 256, hard })).toBe('done')
    expect(await attempt('run', { soft: 256, hard })).toBe('8192')
    expect(await attempt('run', { soft: 9000, hard })).toBe('9000')
  })

  it('an unpack is done where more can be had', async (ctx) => {
    if (reason) ctx.skip(reason)
    if (process.geteuid?.() !== 0) ctx.skip('needs root, to map user ids')
    expect(await attempt('unpack', { soft: 256, hard })).toBe('done')
  })
})
