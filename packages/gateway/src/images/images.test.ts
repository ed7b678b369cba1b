import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol'
import { expect, test } from 'vitest'
import { openHome } from '../state/home.ts'
import { Images } from './images.ts'

test('a build whose result cannot have its name is refused before a byte of its context is asked for', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'coppice-images-'))
  try {
    const images = await Images.open(
      openHome(dir),
      () => false,
      {},
      () => {},
    )
    let asked = false
    async function* context() {
      asked = true
      yield Buffer.alloc(0)
    }
    const request = { noCache: false, buildArgs: {} }
    await expect(
      images.build({ chunks: context() }, 'BAD NAME', request, () => {}, Progress.none()),
    ).rejects.toMatchObject({
      reason: 'invalid_image_name',
    })
    expect(asked).toBe(false)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})
