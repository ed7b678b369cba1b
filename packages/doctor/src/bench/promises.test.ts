import { expect, it } from 'vitest'
import { promises } from './promises.ts'

it('finds the promised figures in SPECIFICATION.md', async () => {
  const { create, exec } = await promises()
  for (const { promised, there } of [create, exec]) {
    expect(promised).toMatch(/docker/)
    expect(there).toMatch(/ms/)
  }
})
