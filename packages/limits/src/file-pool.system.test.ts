import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ReadAll } from './testing/read-all.ts'
import { obstacle, runLimited } from './testing/run-limited.ts'

const FOLDERS = 200
const FILES_EACH = 1000
const HARD = 10_000

describe('a folder of 200,000 files', () => {
  let mount: string
  const hash = createHash('sha256')
  let bytes = 0

  beforeAll(async () => {
    mount = await mkdtemp(join(tmpdir(), 'coppice-many-'))
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2g,nr_inodes=250k', 'tmpfs', mount])
    for (let folder = 0; folder < FOLDERS; folder++) {
      const path = join(mount, `d${1000 + folder}`)
      mkdirSync(path)
      for (let file = 0; file < FILES_EACH; file++) {
        const content = `${folder}/${file}\n`
        writeFileSync(join(path, `f${1000 + file}`), content)
        hash.update(content)
        bytes += content.length
      }
    }
  })
  afterAll(() => {
    execFileSync('umount', [mount])
    rmSync(mount, { recursive: true })
  })

  it('is packed with a soft limit of 256, whole and in order', async (ctx) => {
    const reason = await obstacle(HARD)
    if (reason) ctx.skip(reason)
    const said = (await runLimited({ soft: 256, hard: HARD }, './read-all.ts', [mount])).said as ReadAll
    expect(said).toMatchObject({ files: FOLDERS * FILES_EACH, bytes, digest: hash.digest('hex'), tarStatus: 0 })
    expect(said.archive).toBeGreaterThan(FOLDERS * FILES_EACH * 1024)
    // The limit was real.
    expect(said.withoutPool).toBe('EMFILE')
  })
})
