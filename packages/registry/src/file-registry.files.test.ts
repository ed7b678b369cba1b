import { obstacle, runLimited } from '@coppice/limits/testing'
import { expect, it } from 'vitest'
import { fileFixture } from './file-fixture.ts'

it('a registry takes a thousand changes at once with a soft limit of 128 open files', async (ctx) => {
  const reason = await obstacle(128)
  if (reason) ctx.skip(reason)
  const fixture = await fileFixture()
  try {
    const module = new URL('./testing/create-many.ts', import.meta.url).href
    const { said } = await runLimited({ soft: 128, hard: 128 }, module, [fixture.place, '1000'])
    expect(said).toEqual({ entries: 1000, changed: 1000, skipped: 0 })
  } finally {
    await fixture.close()
  }
})
