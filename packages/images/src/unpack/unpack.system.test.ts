import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Progress, type ProgressEvent } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ImageStore, type ImageStoreOptions } from '../image-store.ts'
import { type TestImage, writeLayout } from '../testing/layout-builder.ts'
import { buildTar, type TestEntry } from '../testing/tar-builder.ts'

const none = Progress.none()
const BASE = 3_000_000
const sh = (script: string, cwd?: string) => execFileSync('sh', ['-euc', script], { cwd, encoding: 'latin1' })

describe('unpacked layers', () => {
  let dir: string
  let store: ImageStore
  let imported = 0
  const inStore = (...path: string[]) => join(dir, 'store', ...path)

  const importImage = async (image: TestImage) => {
    const name = `i${imported++}`
    await writeLayout(join(dir, name), [image])
    await store.import(join(dir, name), { name }, none)
    return store.resolve(name)
  }
  const importTar = (...layers: TestEntry[][]) =>
    importImage({ layers: layers.map((entries) => ({ tar: buildTar(entries) })) })
  const unpack = async (image: Awaited<ReturnType<typeof importTar>>, uidBase = BASE) =>
    store.unpack(image, { uidBase }, none)
  const leftovers = async () => (await readdir(inStore('tmp'))).map((owner) => readdir(inStore('tmp', owner)))

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'coppice-unpack-'))
    store = await ImageStore.open(inStore())
  })
  afterEach(async () => {
    expect((await Promise.all(await leftovers())).flat()).toEqual([])
    await rm(dir, { recursive: true, force: true })
  })

  it('keep owners, modes, setuid bits, capabilities, hard links, attributes, ACLs, holes, long names and names that are no UTF-8', async () => {
    const source = join(dir, 'source')
    await mkdir(source)
    sh(
      `cp /bin/true setuid; chown 7:8 setuid; chmod 6755 setuid
       cp /bin/true capable; setcap cap_net_bind_service,cap_net_raw+ep capable
       echo text > owned; chown 1000:65534 owned; chmod 0640 owned; ln owned linked; setfattr -n user.note -v 0x00ff0a3d owned
       printf x > sparse; truncate -s 200M sparse; touch -d @1234567890 owned
       mkdir sticky; chmod 1777 sticky; mkdir closed; touch closed/in; chmod 0 closed
       ln -s /etc/passwd absolute; ln -s ../../up upwards; mkfifo fifo
       printf bytes > "$(printf '\\377\\376')"; printf bytes > "$(printf '%0150d' 1)$(printf '\\377')"
       mkdir -p ${'d'.repeat(200)}/${'e'.repeat(200)}; touch ${'d'.repeat(200)}/${'e'.repeat(200)}/deep
       mknod null c 1 3`,
      source,
    )
    for (const format of ['gnu', 'pax']) {
      const attributes = format === 'pax' ? ['--xattrs', '--xattrs-include=*', '--acls'] : []
      const options = [`--format=${format}`, '--numeric-owner', '--sparse', ...attributes]
      const archive = join(dir, `${format}.tar`)
      execFileSync('tar', [...options, '-cf', archive, '-C', source, '.'])
      await store.import(archive, { name: format }, none)
      const [layer = ''] = await unpack(await store.resolve(format))

      const setuid = await stat(join(layer, 'setuid'))
      expect([setuid.mode & 0o7777, setuid.uid, setuid.gid]).toEqual([0o6755, BASE + 7, BASE + 8])
      const owned = await stat(join(layer, 'owned'))
      expect([owned.mode & 0o7777, owned.uid, owned.gid, owned.mtimeMs]).toEqual([
        0o640,
        BASE + 1000,
        BASE + 65_534,
        1_234_567_890_000,
      ])
      expect([owned.nlink, (await stat(join(layer, 'linked'))).ino]).toEqual([2, owned.ino])
      const sparse = await stat(join(layer, 'sparse'))
      expect([sparse.size, sparse.blocks < 100]).toEqual([200 * 1024 * 1024, true])
      expect((await stat(join(layer, 'sticky'))).mode & 0o7777).toBe(0o1777)
      expect((await stat(join(layer, 'closed'))).mode & 0o7777).toBe(0)
      expect((await stat(layer)).uid).toBe(BASE)
      expect(sh('readlink absolute upwards', layer)).toBe('/etc/passwd\n../../up\n')
      expect((await lstat(join(layer, 'fifo'))).isFIFO()).toBe(true)
      const names = (await readdir(layer, 'buffer')).map((name) => name.toString('latin1'))
      expect(names).toContain('\xff\xfe')
      expect(names).toContain(`${'1'.padStart(150, '0')}\xff`)
      await stat(join(layer, 'd'.repeat(200), 'e'.repeat(200), 'deep'))
      expect(names).not.toContain('null')
      if (format === 'pax') {
        expect(sh('getcap capable', layer)).toBe('capable cap_net_bind_service,cap_net_raw=ep\n')
        // Version 3, bound to the root of this range: worth nothing outside of it.
        expect(sh('getfattr -n security.capability -e hex capable', layer)).toContain('0x01000003')
        expect(sh('getfattr -n user.note -e hex owned', layer)).toContain('0x00ff0a3d')
      }
    }
  })

  it('stack to what the image means: deleted names, opaque folders, replaced folders', async () => {
    const image = await importTar(
      [
        ...['gone', 'kept', 'replaced', 'file-to-folder'].map((name) => ({ name, body: 'low' })),
        ...['opaque/', 'opaque/sub/', 'partly/', 'anew/', 'deep/', 'deep/er/'].map((name) => ({ name, type: '5' })),
        ...[
          'opaque/old',
          'opaque/sub/old',
          'partly/a',
          'partly/b',
          'anew/old',
          'deep/er/x',
          'deep/er/y',
          '\xff\xfe',
          "it's",
        ].map((name) => ({
          name,
          body: 'low',
        })),
      ],
      [
        ...[
          '.wh.gone',
          'partly/.wh.a',
          'deep/er/.wh.x',
          '.wh.\xff\xfe',
          ".wh.it's",
          '.wh.file-to-folder',
          '.wh.anew',
        ].map((name) => ({ name })),
        ...[
          { name: 'anew/', type: '5' },
          { name: 'file-to-folder/', type: '5' },
          { name: 'opaque/', type: '5' },
        ],
        ...[{ name: 'opaque/.wh..wh..opq' }, { name: '.wh.replaced' }, { name: '.wh..wh.aufs' }],
        ...['opaque/new', 'anew/new', 'replaced', 'file-to-folder/in'].map((name) => ({ name, body: 'high' })),
      ],
    )
    const layers = await unpack(image)
    const merged = join(dir, 'merged')
    await mkdir(merged)
    // One lower folder may not be alone without an upper one, hence the order: highest first.
    execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', `lowerdir=${layers.toReversed().join(':')}`, merged])
    try {
      const found = sh('find . ! -name . | sort', merged).trim().split('\n').sort()
      expect(found).toEqual(
        [
          ...[
            './anew',
            './anew/new',
            './deep',
            './deep/er',
            './deep/er/y',
            './file-to-folder',
            './file-to-folder/in',
            './kept',
          ],
          ...['./opaque', './opaque/new', './partly', './partly/b', './replaced'],
        ].sort(),
      )
      expect(await readFile(join(merged, 'replaced'), 'utf8')).toBe('high')
    } finally {
      execFileSync('umount', [merged])
    }
    expect((await lstat(join(layers[1] ?? '', 'gone'))).nlink).toBeGreaterThan(1)
  })

  it('leave the folders in which something is deleted the times, modes and owners that the layer gives them', async () => {
    const old = '-12345.678901234'
    const folder = (name: string, mtime: string, more: Partial<TestEntry> = {}): TestEntry => ({
      ...{ name, type: '5', ...more },
      pax: { mtime },
    })
    const [layer = ''] = await unpack(
      await importTar([
        folder('./', '1234567890.123456789'),
        folder('d/', '1000000001.000000007', { mode: 0o2750, uid: 12, gid: 34 }),
        folder('d/\xff\xfe/', '1000000002.5', { mode: 0o1777 }),
        folder('opaque/', old),
        ...['.wh.a', 'd/.wh.a', 'd/.wh.b', 'd/\xff\xfe/.wh.c', 'opaque/.wh..wh..opq'].map((name) => ({ name })),
        // A folder that the layer does not bring.
        { name: 'opaque/made/.wh.d' },
      ]),
    )
    expect(sh(`stat -c '%n %a %u %g %.9Y' . d d/*/ opaque`, layer).trim().split('\n')).toEqual([
      `. 755 ${BASE} ${BASE} 1234567890.123456789`,
      `d 2750 ${BASE + 12} ${BASE + 34} 1000000001.000000007`,
      `d/\xff\xfe/ 1777 ${BASE} ${BASE} 1000000002.500000000`,
      `opaque 755 ${BASE} ${BASE} ${old}`,
    ])
  })

  it('hide everything below when the root itself is opaque', async () => {
    const layers = await unpack(await importTar([{ name: 'old' }], [{ name: '.wh..wh..opq' }, { name: 'new' }]))
    expect(sh('getfattr -n trusted.overlay.opaque --only-values .', layers[1])).toBe('y')
  })

  it('are packed with gzip or zstd or not at all', async () => {
    const tar = (name: string) => buildTar([{ name, body: name }])
    const image = await importImage({
      layers: [{ tar: tar('a') }, { tar: tar('b'), packed: 'gzip' }, { tar: tar('c'), packed: 'zstd' }],
    })
    const layers = await unpack(image)
    expect(await Promise.all(layers.map((layer) => readdir(layer)))).toEqual([['a'], ['b'], ['c']])
    expect(layers).toEqual(image.diffIds.map((id) => inStore('unpacked', String(BASE), id.slice(7))))
  })

  it('belong to the range that was asked for, each range its own', async () => {
    const image = await importTar([{ name: 'a', uid: 5 }])
    for (const uidBase of [BASE, BASE + 65_536, 0]) {
      const [layer = ''] = await unpack(image, uidBase)
      expect((await stat(join(layer, 'a'))).uid).toBe(uidBase + 5)
    }
    for (const uidBase of [-1, 1.5, 2 ** 32 - 65_536]) {
      await expect(unpack(image, uidBase)).rejects.toMatchObject({
        code: 'invalid_argument',
        reason: 'invalid_uid_base',
      })
    }
  })

  it.each<[string, TestEntry[], string]>([
    ['an absolute name', [{ name: '/tmp/coppice-escaped', body: 'x' }], 'archive_path_escape'],
    ['a name upwards', [{ name: '../coppice-escaped', body: 'x' }], 'archive_path_escape'],
    [
      'a write through a symlink',
      [
        { name: 'a', type: '2', linkName: '/tmp' },
        { name: 'a/coppice-escaped', body: 'x' },
      ],
      'archive_symlink_escape',
    ],
    [
      'a whiteout through a symlink',
      [{ name: 'a', type: '2', linkName: '/tmp' }, { name: 'a/.wh.x' }],
      'archive_symlink_escape',
    ],
    ['a hard link to the outside', [{ name: 'a', type: '1', linkName: '/etc/passwd' }], 'archive_hardlink_escape'],
    [
      'a whiteout below a symlink that comes later',
      [{ name: 'a/.wh.x' }, { name: 'a', type: '2', linkName: '/tmp' }],
      'archive_symlink_escape',
    ],
    ['an owner outside of every range', [{ name: 'a', uid: 70_000 }], 'layer_unpack_failed'],
    ['a hard link to nothing', [{ name: 'a', type: '1', linkName: 'b' }], 'layer_unpack_failed'],
  ])('are not made from a layer with %s', async (_, entries, reason) => {
    const image = await importTar(entries)
    await expect(unpack(image)).rejects.toMatchObject({ code: 'invalid_argument', reason })
    await expect(stat('/tmp/coppice-escaped')).rejects.toThrow('ENOENT')
    await expect(readdir(inStore('unpacked', String(BASE)))).rejects.toThrow('ENOENT')
  })

  it('have none of the attributes that overlayfs would obey', async () => {
    const pax = {
      'SCHILY.xattr.trusted.overlay.redirect': '/etc',
      'SCHILY.xattr.user.overlay.opaque': 'y',
      'SCHILY.xattr.user.ok': '1',
    }
    const [layer = ''] = await unpack(await importTar([{ name: 'd/', type: '5', pax }]), 0)
    expect(sh('getfattr -d -m - d', layer)).toBe('# file: d\nuser.ok="1"\n\n')
  })

  it('are not made from a layer that is not the one the image names', async () => {
    const image = await importImage({
      layers: [{ tar: buildTar([{ name: 'a' }]) }],
      diffIds: [`sha256:${'0'.repeat(64)}`],
    })
    await expect(unpack(image)).rejects.toMatchObject({ code: 'invalid_argument', reason: 'digest_mismatch' })
  })

  it('are not made larger than allowed', async () => {
    const options: ImageStoreOptions = { maxUnpackedBytes: 100_000 }
    store = await ImageStore.open(inStore(), options)
    const image = await importImage({
      layers: [{ tar: buildTar([{ name: 'a', body: Buffer.alloc(200_000) }]), packed: 'gzip' }],
    })
    await expect(unpack(image)).rejects.toMatchObject({ code: 'resource_exhausted', reason: 'image_too_large' })
  })

  it('say that the disk is full', async () => {
    const mount = join(dir, 'small')
    await mkdir(mount)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', mount])
    try {
      const small = await ImageStore.open(join(mount, 'store'))
      await writeLayout(join(dir, 'l'), [
        { layers: [{ tar: buildTar([{ name: 'a', body: Buffer.alloc(9_000_000) }]), packed: 'gzip' }] },
      ])
      await small.import(join(dir, 'l'), { name: 'l' }, none)
      const full = { code: 'resource_exhausted', reason: 'disk_full' }
      await expect(small.unpack(await small.resolve('l'), { uidBase: BASE }, none)).rejects.toMatchObject(full)
      const big = join(dir, 'big.tar')
      await writeFile(big, buildTar([{ name: 'a', body: Buffer.alloc(9_000_000) }]))
      await expect(small.import(big, {}, none)).rejects.toMatchObject(full)
      await small.remove('l')
      expect(await readdir(join(mount, 'store/blobs/sha256'))).toEqual([])
    } finally {
      execFileSync('umount', ['--lazy', mount])
    }
  })

  it('are made once for all who want them at the same time, and go on when one of them gives up', async () => {
    const image = await importTar([{ name: 'a', body: Buffer.alloc(5_000_000, 1) }])
    const abort = new AbortController()
    const events: ProgressEvent[] = []
    const onEvent = (event: ProgressEvent) => {
      events.push(event)
      abort.abort()
    }
    const wanted = [
      store.unpack(image, { uidBase: BASE }, new Progress({ signal: abort.signal, onEvent })),
      store.unpack(image, { uidBase: BASE }, none),
      store.unpack(image, { uidBase: BASE }, none),
    ]
    const [given, ...rest] = await Promise.allSettled(wanted)
    expect(given).toMatchObject({ status: 'rejected', reason: { code: 'cancelled' } })
    expect(rest.map((outcome) => outcome.status)).toEqual(['fulfilled', 'fulfilled'])
    expect(events.length).toBeGreaterThan(0)
  })

  it('go with the last image that needs them, and not before', async () => {
    const [low, high] = [[{ name: 'low' }], [{ name: 'high' }]]
    const [a, b] = [await importTar(low), await importTar(low, high)]
    const [shared = ''] = await unpack(a)
    await unpack(b)
    expect(await store.remove(a.name ?? '')).toMatchObject({ layers: 0 })
    await stat(shared)
    expect(await store.remove(b.name ?? '')).toMatchObject({ layers: 2 })
    expect(await readdir(inStore('unpacked', String(BASE)))).toEqual([])
  })

  it('are whole or not there when the process is killed, and nothing of it stays', { timeout: 60_000 }, async () => {
    const files = Array.from({ length: 3000 }, (_, i) => ({ name: `\xff${i}`, body: `${i}`.repeat(300) }))
    const image = await importTar(files)
    const script = new URL('../testing/unpack-forever.ts', import.meta.url).pathname
    for (let round = 0; round < 8; round++) {
      const child = spawn(process.execPath, [script, inStore(), image.name ?? '', String(BASE)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      await once(child.stdout, 'data')
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 200))
      child.kill('SIGKILL')
      await once(child, 'close')
      store = await ImageStore.open(inStore())
      const made = await readdir(inStore('unpacked', String(BASE))).catch(() => [])
      for (const hex of made) expect((await readdir(inStore('unpacked', String(BASE), hex))).length).toBe(3000)
    }
    const [layer = ''] = await unpack(image)
    expect((await readdir(layer)).length).toBe(3000)
  })
})
