import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FilePool } from './file-pool.ts'

describe('a pool of files', () => {
  let dir: string
  const paths = () => Array.from({ length: 40 }, (_, at) => join(dir, `f${at}`))

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'coppice-pool-'))
    for (const [at, path] of paths().entries()) await writeFile(path, String(at))
  })
  afterEach(() => rm(dir, { recursive: true }))

  it('opens no more files at a time than it was told', async () => {
    const pool = new FilePool(3)
    let open = 0
    let most = 0
    const work = async (file: { readFile(encoding: 'utf8'): Promise<string> }) => {
      most = Math.max(most, ++open)
      const text = await file.readFile('utf8')
      open--
      return text
    }
    const texts = await Promise.all(paths().map((path) => pool.use(path, 'r', work)))
    expect(texts).toEqual(paths().map((_, at) => String(at)))
    expect(most).toBe(3)
  })

  it('goes on after failures, and passes them on', async () => {
    const pool = new FilePool(1)
    await expect(pool.use(join(dir, 'absent'), 'r', async () => 1)).rejects.toMatchObject({ code: 'ENOENT' })
    const fail = async () => {
      throw new RangeError('no')
    }
    await expect(pool.use(join(dir, 'f0'), 'r', fail)).rejects.toThrow(RangeError)
    expect(await pool.use(join(dir, 'f1'), 'r', (file) => file.readFile('utf8'))).toBe('1')
  })

  it('makes files with the mode that was asked for', async () => {
    await new FilePool().use(join(dir, 'new'), 'wx', (file) => file.writeFile('x'), 0o600)
    expect((await stat(join(dir, 'new'))).mode & 0o777).toBe(0o600)
  })

  it('gives results in the order of the items, and begins no more than fit', async () => {
    const pool = new FilePool(4)
    let begun = 0
    const results = pool.map(paths(), async (path) => {
      begun++
      return pool.use(path, 'r', (file) => file.readFile('utf8'))
    })
    expect((await results.next()).value).toBe('0')
    expect(begun).toBe(4)
    const rest: string[] = []
    for await (const text of results) rest.push(text)
    expect(rest).toEqual(
      paths()
        .slice(1)
        .map((_, at) => String(at + 1)),
    )
  })

  it('ends a series at the first failure, when nothing of it is open any more', async () => {
    const pool = new FilePool(4)
    let open = 0
    const read = async () => {
      for await (const _ of pool.map(['f0', 'absent', 'f1', 'f2', 'f3'], (name) =>
        pool.use(join(dir, name), 'r', async (file) => {
          open++
          await file.readFile()
          open--
        }),
      ));
    }
    await expect(read()).rejects.toMatchObject({ code: 'ENOENT' })
    expect(open).toBe(0)
  })

  it.each([0, -1, 1.5, Number.NaN])('refuses a size of %d', (size) => {
    expect(() => new FilePool(size)).toThrow(RangeError)
  })
})
