import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type ContextOptions, packContext } from './context.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-context-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function write(files: Record<string, string>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
}

/** Names in the tar, in order. Those here fit into the 100 bytes of a plain header. */
async function names(options: ContextOptions = {}, from = folder): Promise<string[]> {
  const chunks: Buffer[] = []
  for await (const chunk of packContext(from, options)) chunks.push(chunk)
  const tar = Buffer.concat(chunks)
  const found: string[] = []
  for (let at = 0; tar[at] !== 0; ) {
    const size = Number.parseInt(tar.toString('latin1', at + 124, at + 135), 8)
    found.push(tar.toString('utf8', at, tar.indexOf(0, at)).replace(/^\.\//, '').replace(/\/$/, ''))
    at += 512 + Math.ceil(size / 512) * 512
  }
  return found
}

test('what is ignored is left out, folders too, and what the builder reads of it stands in front', async () => {
  write({
    Dockerfile: 'FROM x',
    '.dockerignore': '*\n!src',
    'src/a': '1',
    'src/deep/b': '2',
    secret: '3',
    'data/c': '4',
  })
  expect(await names()).toEqual(['.', 'Dockerfile', '.dockerignore', 'src', 'src/a', 'src/deep', 'src/deep/b'])
  write({ '.dockerignore': '.dockerignore\ndata\nsrc' })
  // Steps see the one, the builder needs it first.
  expect(await names()).toEqual(['.', 'Dockerfile', '.dockerignore', 'Dockerfile', 'secret'])
  write({ '.dockerignore': 'Dockerfile\ndata\nsrc' })
  expect(await names()).toEqual(['.', 'Dockerfile', '.dockerignore', 'secret'])
})

test('a folder is there when something in it is taken after all, and not otherwise', async () => {
  write({
    Dockerfile: '',
    '.dockerignore': 'docs\n!docs/*/keep.md',
    'docs/a/keep.md': '',
    'docs/a/other': '',
    'docs/b/x': '',
  })
  symlinkSync('Dockerfile', join(folder, 'link'))
  expect(await names()).toEqual(['.', '.dockerignore', 'Dockerfile', 'docs', 'docs/a', 'docs/a/keep.md', 'link'])
})

test('a Dockerfile elsewhere brings its own ignore file', async () => {
  write({ 'build/D': 'FROM x', 'build/D.dockerignore': 'b*', '.dockerignore': 'a', a: '', b: '', 'build/more': '' })
  expect(await names({ plan: 'build/D' })).toEqual(['.', 'build/D', 'build/D.dockerignore', '.dockerignore', 'a'])
})

test('without a Dockerfile nothing is sent', async () => {
  await expect(names()).rejects.toMatchObject({ reason: 'dockerfile_not_found' })
})

test('a Dockerfile that is not in the folder is its first file, with the ignore file beside it', async () => {
  write({ 'in/a': '', 'in/b': '', 'in/.dockerignore': 'a', D: 'FROM x', E: 'FROM y', 'E.dockerignore': 'b' })
  const within = join(folder, 'in')
  const own = /^\.dockerfile\.[0-9a-f]{20}$/
  expect(await names({ plan: '../D' }, within)).toEqual(['.', expect.stringMatching(own), '.dockerignore', 'b'])
  expect(await names({ plan: join(folder, 'E') }, within)).toEqual([
    '.',
    expect.stringMatching(own),
    '.dockerignore',
    'a',
  ])
  const [, name = ''] = await names({ plan: '../D' }, within)
  write({ [`in/${name}`]: 'an old one' })
  expect((await names({ plan: '../D' }, within)).filter((file) => file === name)).toHaveLength(1)
})

test('a folder that is named by a link is the folder, for its Dockerfile too', async () => {
  write({ 'in/D': 'FROM x' })
  symlinkSync('in', join(folder, 'link'))
  expect(await names({ plan: join(folder, 'link/D') }, join(folder, 'in'))).toEqual(['.', 'D'])
})

test('a Dockerfile that is a link is what it leads to, in the folder or elsewhere, whatever is ignored', async () => {
  write({ D: 'FROM x', 'in/sub/E': 'FROM y', 'in/a': '', 'in/b': '', 'in/.dockerignore': 'sub\na' })
  const within = join(folder, 'in')
  symlinkSync('../D', join(within, 'Dockerfile'))
  symlinkSync('sub/E', join(within, 'Other'))
  const own = expect.stringMatching(/^\.dockerfile\.[0-9a-f]{20}$/)
  expect(await names({}, within)).toEqual(['.', own, '.dockerignore', 'Dockerfile', 'Other', 'b'])
  expect(await names({ plan: 'Other' }, within)).toEqual(['.', 'sub/E', '.dockerignore', 'Dockerfile', 'Other', 'b'])
  write({ 'in/Other.dockerignore': 'b' })
  expect(await names({ plan: 'Other' }, within)).toContain('a')
})
