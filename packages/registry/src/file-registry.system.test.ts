import { execFileSync } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FileRegistry } from './file-registry.ts'

describe('registry on a small file system', () => {
  let mount: string

  beforeEach(async () => {
    mount = await mkdtemp(join(tmpdir(), 'coppice-registry-mount-'))
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', mount])
  })
  afterEach(async () => {
    execFileSync('umount', [mount])
    await rm(mount, { recursive: true })
  })

  it('that is full keeps the old entry, says so, and works again when there is room', async () => {
    const notes = (await FileRegistry.open(join(mount, 'registry'))).kind<{ text: string }>('notes')
    await notes.put('a', { text: 'old' })
    const filler = join(mount, 'filler')
    await writeFile(filler, Buffer.alloc(1024 * 1024)).catch(() => undefined)
    const full = { code: 'resource_exhausted', reason: 'disk_full' }
    await expect(notes.put('a', { text: 'x'.repeat(20_000) })).rejects.toMatchObject(full)
    await expect(notes.update('a', () => ({ text: 'x'.repeat(20_000) }))).rejects.toMatchObject(full)
    expect(await notes.get('a')).toEqual({ id: 'a', version: 1, value: { text: 'old' } })
    await rm(filler)
    expect((await notes.put('a', { text: 'new' })).version).toBe(2)
    expect(await readdir(join(mount, 'registry', 'notes'))).toHaveLength(1)
  })

  it('that is read-only can be read, and says why it cannot be written', async () => {
    const notes = (await FileRegistry.open(join(mount, 'registry'))).kind<{ text: string }>('notes')
    await notes.put('a', { text: 'old' })
    execFileSync('mount', ['-o', 'remount,ro', mount])
    await expect(notes.put('a', { text: 'new' })).rejects.toMatchObject({
      code: 'unavailable',
      facts: { errno: 'EROFS' },
    })
    expect((await notes.list()).entries).toMatchObject([{ id: 'a', value: { text: 'old' } }])
  })
})
