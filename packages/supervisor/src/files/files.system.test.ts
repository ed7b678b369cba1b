import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type FileList, type FileStat, FrameType, frameJson, type UploadState } from '@coppice/protocol/wire'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { eventually } from '../testing/eventually.ts'
import { mountSmall } from '../testing/fixtures.ts'
import { TestSandbox } from '../testing/sandbox.ts'

let sandbox: TestSandbox
let dir: string
beforeAll(async () => {
  sandbox = await TestSandbox.start({ config: { defaults: { env: {}, cwd: '/', user: 'nobody' } } })
})
afterAll(() => sandbox.close())
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-files-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const at = (name: string | Buffer) => {
  const bytes = Buffer.concat([Buffer.from(`${dir}/`), Buffer.from(name)])
  return [...bytes].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
}
let uploads = 0
const newUpload = () => `up-${process.pid}-${uploads++}`
const put = (name: string | Buffer, body: Buffer, query = '') =>
  sandbox.frames('PUT', `/files/content?path=${at(name)}&upload=${newUpload()}&size=${body.length}${query}`, body)
const randomBody = (bytes: number) => Buffer.from(Array.from({ length: bytes }, (_, index) => (index * 131) >> 3))

describe('reading', () => {
  test('a file, whole and in part, with its stat', async () => {
    writeFileSync(join(dir, 'ü'), 'hello world', { mode: 0o640 })
    const { body, headers } = await sandbox.request('GET', `/files/content?path=${at('ü')}`)
    expect(body.toString()).toBe('hello world')
    expect(JSON.parse(String(headers['x-coppice-stat']))).toMatchObject({ path: `${dir}/ü`, size: 11, mode: 0o640 })
    const part = await sandbox.request('GET', `/files/content?path=${at('ü')}&offset=6&length=3`)
    expect(part.body.toString()).toBe('wor')
    const beyond = await sandbox.request('GET', `/files/content?path=${at('ü')}&offset=100`)
    expect([beyond.status, beyond.body.length]).toEqual([200, 0])
  })

  test('a file of many chunks, byte for byte', async () => {
    const content = randomBody(3_000_001)
    writeFileSync(join(dir, 'big'), content)
    expect((await sandbox.request('GET', `/files/content?path=${at('big')}`)).body.equals(content)).toBe(true)
  })

  test('a resumed read of a file that has changed fails', async () => {
    writeFileSync(join(dir, 'f'), 'one')
    const { headers } = await sandbox.request('GET', `/files/content?path=${at('f')}`)
    const etag = String(headers.etag)
    expect(
      (await sandbox.request('GET', `/files/content?path=${at('f')}`, undefined, { 'if-match': etag })).status,
    ).toBe(200)
    writeFileSync(join(dir, 'f'), 'two!')
    const changed = await sandbox.request('GET', `/files/content?path=${at('f')}`, undefined, { 'if-match': etag })
    expect(changed.status).toBe(409)
    expect(JSON.parse(changed.body.toString()).error.reason).toBe('file_changed')
  })

  test('what claims no size and has content', async () => {
    const { body } = await sandbox.request('GET', '/files/content?path=/proc/self/status')
    expect(body.toString()).toContain('Name:')
  })

  test('a FIFO does not hang, a folder is not a file, nothing is not found', async () => {
    execFileSync('mkfifo', [join(dir, 'fifo')])
    const reason = async (path: string) =>
      JSON.parse((await sandbox.request('GET', `/files/content?path=${path}`)).body.toString()).error.reason
    expect(await reason(at('fifo'))).toBe('not_a_file')
    expect(await reason(at(''))).toBe('is_a_directory')
    expect(await reason(at('nope'))).toBe('file_not_found')
    expect(await reason('')).toBe('invalid_path')
  })
})

describe('writing', () => {
  test('a new file: content, mode 0644, owned by the default user; nothing else is left in the folder', async () => {
    const body = randomBody(1_000_003)
    const frames = await put('new', body)
    expect(frameJson<UploadState>(frames.at(-1) as never)).toMatchObject({ acknowledged: 1_000_003, committed: true })
    expect(readFileSync(join(dir, 'new')).equals(body)).toBe(true)
    const stat = statSync(join(dir, 'new'))
    expect([stat.mode & 0o7777, stat.uid]).toEqual([0o644, 65534])
    expect(readdirSync(dir)).toEqual(['new'])
  })

  test('a replaced file keeps mode and owner; mode and user can be asked for', async () => {
    writeFileSync(join(dir, 'f'), 'old', { mode: 0o755 })
    await put('f', Buffer.from('new'))
    expect([statSync(join(dir, 'f')).mode & 0o7777, statSync(join(dir, 'f')).uid]).toEqual([0o755, 0])
    await put('f', Buffer.from('x'), '&mode=4711&user=1')
    expect([statSync(join(dir, 'f')).mode & 0o7777, statSync(join(dir, 'f')).uid]).toEqual([0o4711, 1])
  })

  test('folders that are missing are made when asked for', async () => {
    await expect(put('a/b/f', Buffer.from('x'))).rejects.toMatchObject({ reason: 'file_not_found' })
    await put('a/b/f', Buffer.from('x'), '&parents=1')
    expect(readFileSync(join(dir, 'a/b/f'), 'latin1')).toBe('x')
    expect(statSync(join(dir, 'a')).uid).toBe(65534)
  })

  test('through a symlink the file behind it is replaced and the symlink stays', async () => {
    mkdirSync(join(dir, 'sub'))
    writeFileSync(join(dir, 'sub/real'), 'old')
    symlinkSync('sub/real', join(dir, 'link'))
    symlinkSync('link', join(dir, 'link2'))
    await put('link2', Buffer.from('new'))
    expect(lstatSync(join(dir, 'link2')).isSymbolicLink()).toBe(true)
    expect(readFileSync(join(dir, 'sub/real'), 'latin1')).toBe('new')
    symlinkSync('not-yet', join(dir, 'dangling'))
    await put('dangling', Buffer.from('made'))
    expect(readFileSync(join(dir, 'not-yet'), 'latin1')).toBe('made')
  })

  test('a body that is cut leaves the target untouched and is resumed from the acknowledged offset', async () => {
    writeFileSync(join(dir, 'f'), 'old')
    const body = randomBody(2_000_000)
    const upload = newUpload()
    const path = `/files/content?path=${at('f')}&upload=${upload}&size=${body.length}`
    const stream = await sandbox.open('PUT', `${path}&offset=0`)
    stream.write(body.subarray(0, 700_000))
    await eventually(async () => (await sandbox.json<UploadState>('GET', `/uploads/${upload}`)).acknowledged >= 500_000)
    sandbox.cut()
    const { acknowledged, committed } = await eventually(() => sandbox.json<UploadState>('GET', `/uploads/${upload}`))
    expect([acknowledged >= 500_000, committed]).toEqual([true, false])
    expect(readFileSync(join(dir, 'f'), 'latin1')).toBe('old')
    // The sender has missed the last acknowledgements: it starts a little before.
    const from = acknowledged - 1_000
    const frames = await sandbox.frames('PUT', `${path}&offset=${from}`, body.subarray(from))
    expect(frames.at(-1)?.type).toBe(FrameType.result)
    expect(readFileSync(join(dir, 'f')).equals(body)).toBe(true)
    const again = await sandbox.frames('PUT', `${path}&offset=${from}`, body.subarray(from))
    expect(frameJson<UploadState>(again.at(-1) as never).committed).toBe(true)
    expect(readdirSync(dir)).toEqual(['f'])
  })

  test('an upload goes on after the supervisor was killed, and a finished one is known to be', async () => {
    const body = randomBody(1_000_000)
    const upload = newUpload()
    const path = `/files/content?path=${at('f')}&upload=${upload}&size=${body.length}`
    const stream = await sandbox.open('PUT', `${path}&offset=0`)
    stream.write(body.subarray(0, 400_000))
    await eventually(
      async () => (await sandbox.json<UploadState>('GET', `/uploads/${upload}`)).acknowledged === 400_000,
    )
    const restart = async () => {
      await sandbox.kill()
      sandbox.spawn()
      await sandbox.session()
    }
    await restart()
    expect(await sandbox.json('GET', `/uploads/${upload}`)).toMatchObject({ acknowledged: 400_000, committed: false })
    await sandbox.frames('PUT', `${path}&offset=400000`, body.subarray(400_000))
    await restart()
    expect(await sandbox.json('GET', `/uploads/${upload}`)).toMatchObject({ acknowledged: 1_000_000, committed: true })
    expect(readFileSync(join(dir, 'f')).equals(body)).toBe(true)
  })

  test('wrong offsets, sizes and targets are typed failures that leave the target untouched', async () => {
    writeFileSync(join(dir, 'f'), 'old')
    const path = (upload: string, more: string) => `/files/content?path=${at('f')}&upload=${upload}${more}`
    await expect(sandbox.frames('PUT', path(newUpload(), '&offset=5'), Buffer.from('x'))).rejects.toMatchObject({
      reason: 'offset_ahead',
      facts: { acknowledged: 0 },
    })
    const short = await sandbox.frames('PUT', path(newUpload(), '&size=9'), Buffer.from('x'))
    expect(frameJson(short.at(-1) as never)).toMatchObject({ reason: 'size_mismatch' })
    await expect(put('', Buffer.from('x'))).rejects.toMatchObject({ reason: 'not_a_file' })
    await expect(sandbox.frames('PUT', path('../x', ''), Buffer.from('x'))).rejects.toMatchObject({
      reason: 'invalid_upload_id',
    })
    expect(readFileSync(join(dir, 'f'), 'latin1')).toBe('old')
  })

  test('an upload that is given up leaves nothing', async () => {
    const upload = newUpload()
    const stream = await sandbox.open('PUT', `/files/content?path=${at('f')}&upload=${upload}&offset=0`)
    stream.write(Buffer.alloc(1000))
    await eventually(async () => (await sandbox.json<UploadState>('GET', `/uploads/${upload}`)).acknowledged === 1000)
    await sandbox.json('DELETE', `/uploads/${upload}`)
    expect(readdirSync(dir)).toEqual([])
    expect(await sandbox.json('GET', `/uploads/${upload}`)).toMatchObject({ acknowledged: 0, committed: false })
  })

  test('a full disk is a typed failure, and the target is untouched', async (context) => {
    const mount = mountSmall(join(dir, 'small'), 1024 * 1024)
    if (!mount) return context.skip('no tmpfs can be mounted here')
    try {
      writeFileSync(join(dir, 'small/f'), 'old')
      const frames = await put('small/f', Buffer.alloc(3_000_000))
      expect(frameJson(frames.at(-1) as never)).toMatchObject({ code: 'resource_exhausted', reason: 'disk_full' })
      expect(readFileSync(join(dir, 'small/f'), 'latin1')).toBe('old')
    } finally {
      mount.unmount()
    }
  })
})

describe('the tree', () => {
  test('names that are not UTF-8', async () => {
    const name = Buffer.from([0x66, 0xff, 0x6f])
    await put(name, Buffer.from('x'))
    const { entries } = await sandbox.json<FileList>('GET', `/files/list?path=${at('')}`)
    const [entry] = entries
    expect(Buffer.from(entry?.pathBase64 ?? '', 'base64').subarray(-3)).toEqual(name)
    expect(await sandbox.json('GET', `/files/stat?path=${at(name)}`)).toMatchObject({ type: 'file', size: 1 })
    expect((await sandbox.request('GET', `/files/content?path=${at(name)}`)).body.toString()).toBe('x')
  })

  test('stat follows symlinks unless it is told not to, a list never does', async () => {
    mkdirSync(join(dir, 'd'))
    symlinkSync('d', join(dir, 'link'))
    expect(await sandbox.json('GET', `/files/stat?path=${at('link')}`)).toMatchObject({ type: 'directory' })
    expect(await sandbox.json('GET', `/files/stat?path=${at('link')}&nofollow=1`)).toMatchObject({
      type: 'symlink',
      target: 'd',
    })
    const list = await sandbox.json<FileList>('GET', `/files/list?path=${at('')}`)
    expect(list.entries.map((entry) => entry.type)).toEqual(['directory', 'symlink'])
  })

  test('a list is sorted by bytes and says when it is cut', async () => {
    for (const name of ['b', 'a', 'Z', 'é']) writeFileSync(join(dir, name), '')
    const names = (list: FileList) => list.entries.map((entry: FileStat) => entry.path.slice(dir.length + 1))
    const list = await sandbox.json<FileList>('GET', `/files/list?path=${at('')}`)
    expect([names(list), list.truncated]).toEqual([['Z', 'a', 'b', 'é'], false])
    const cut = await sandbox.json<FileList>('GET', `/files/list?path=${at('')}&limit=2`)
    expect([names(cut), cut.truncated]).toEqual([['Z', 'a'], true])
  })

  test('folders are made with their parents, mode and owner', async () => {
    await sandbox.json('POST', '/files/mkdir', { path: `${dir}/a/b/c`, mode: 0o700 })
    expect([statSync(join(dir, 'a/b/c')).mode & 0o7777, statSync(join(dir, 'a')).uid]).toEqual([0o700, 65534])
    await sandbox.json('POST', '/files/mkdir', { path: `${dir}/a/b/c` })
    await expect(sandbox.json('POST', '/files/mkdir', { path: `${dir}/a`, parents: false })).rejects.toMatchObject({
      reason: 'file_exists',
    })
  })

  test('moving and removing act on a symlink itself', async () => {
    mkdirSync(join(dir, 'd'))
    writeFileSync(join(dir, 'd/keep'), 'x')
    symlinkSync('d', join(dir, 'link'))
    await sandbox.json('POST', '/files/move', { from: `${dir}/link`, to: `${dir}/moved` })
    expect(readlinkSync(join(dir, 'moved'))).toBe('d')
    await expect(
      sandbox.json('POST', '/files/move', { from: `${dir}/moved`, to: `${dir}/d`, overwrite: false }),
    ).rejects.toMatchObject({ reason: 'file_exists' })
    await sandbox.json('POST', '/files/remove', { path: `${dir}/moved`, recursive: true })
    expect(readdirSync(dir)).toEqual(['d'])
    expect(existsSync(join(dir, 'd/keep'))).toBe(true)
    await expect(sandbox.json('POST', '/files/remove', { path: `${dir}/d` })).rejects.toMatchObject({
      reason: 'not_empty',
    })
    writeFileSync(Buffer.concat([Buffer.from(`${dir}/d/`), Buffer.from([0xfe])]), 'x')
    symlinkSync('/etc', join(dir, 'd/out'))
    await sandbox.json('POST', '/files/remove', { path: `${dir}/d`, recursive: true })
    expect(existsSync(join(dir, 'd'))).toBe(false)
    expect(existsSync('/etc/passwd')).toBe(true)
    await sandbox.json('POST', '/files/remove', { path: `${dir}/d`, force: true })
  })
})

describe('archives', () => {
  test('a folder goes out and comes back the same: modes, symlinks, hard links, empty folders, long and raw names', async () => {
    const src = join(dir, 'src')
    mkdirSync(join(src, 'empty'), { recursive: true })
    mkdirSync(join(src, 'sub'))
    writeFileSync(join(src, 'plain'), 'x'.repeat(100_000), { mode: 0o640 })
    writeFileSync(join(src, 'sub/tool'), 'tool')
    chmodSync(join(src, 'sub/tool'), 0o4755)
    chmodSync(join(src, 'empty'), 0o1777)
    linkSync(join(src, 'plain'), join(src, 'sub/hard'))
    symlinkSync('../nowhere', join(src, 'sub/dangling'))
    symlinkSync('/etc/passwd', join(src, 'absolute'))
    const long = `${'d'.repeat(120)}/${'e'.repeat(120)}`
    mkdirSync(join(src, long), { recursive: true })
    writeFileSync(join(src, long, 'n'.repeat(200)), 'long')
    writeFileSync(Buffer.concat([Buffer.from(`${src}/raw`), Buffer.from([0xff, 0xfe])]), 'raw')
    spawnSync('python3', ['-c', `import socket; socket.socket(socket.AF_UNIX).bind('${src}/sub/socket')`])
    const archive = await sandbox.request('GET', `/files/archive?path=${at('src')}`)
    expect(archive.status).toBe(200)
    rmSync(join(src, 'sub/socket'), { force: true })
    const answer = await sandbox.json<{ entries: number }>(
      'PUT',
      `/files/archive?path=${at('dst')}&user=0`,
      archive.body,
    )
    const shape = (name: string) =>
      execFileSync('sh', [
        '-c',
        `cd ${join(dir, name)} && find . -mindepth 1 -printf '%P %y %m %s %l %n\\n' | sort | sed 's/ d \\([0-9]*\\) [0-9]*/ d \\1/'`,
      ])
    expect(shape('dst').equals(shape('src'))).toBe(true)
    expect(execFileSync('diff', ['-r', '--no-dereference', join(dir, 'src'), join(dir, 'dst')]).toString()).toBe('')
    expect(answer.entries).toBeGreaterThanOrEqual(11)
    expect(lstatSync(join(dir, 'dst/plain')).ino).toBe(lstatSync(join(dir, 'dst/sub/hard')).ino)
    expect(Math.trunc(lstatSync(join(dir, 'dst/plain')).mtimeMs / 1000)).toBe(
      Math.trunc(lstatSync(join(src, 'plain')).mtimeMs / 1000),
    )
  })

  test('what is unpacked belongs to the default user', async () => {
    mkdirSync(join(dir, 'src'))
    writeFileSync(join(dir, 'src/f'), 'x')
    const { body } = await sandbox.request('GET', `/files/archive?path=${at('src')}`)
    await sandbox.json('PUT', `/files/archive?path=${at('dst')}`, body)
    expect([statSync(join(dir, 'dst')).uid, statSync(join(dir, 'dst/f')).uid]).toEqual([65534, 65534])
  })

  const tar = (script: string) =>
    execFileSync('python3', [
      '-c',
      `import tarfile,io,sys\nt=tarfile.open(fileobj=sys.stdout.buffer,mode='w|')\ndef f(n,b=b'evil',**k):\n i=tarfile.TarInfo(n); i.size=len(b)\n for a,v in k.items(): setattr(i,a,v)\n t.addfile(i,io.BytesIO(b))\n${script}\nt.close()`,
    ])

  test.each([
    ['a name that goes up', "f('../out')", 'path_escapes'],
    ['a name that goes up later', "f('a/../../out')", 'path_escapes'],
    ['an absolute name', "f('/tmp/coppice-evil')", 'path_escapes'],
    [
      'a symlink in the archive that leads out',
      "f('l',b'',type=tarfile.SYMTYPE,linkname='..')\nf('l/out')",
      'symlink_in_the_way',
    ],
    ['a hard link to outside', "f('h',b'',type=tarfile.LNKTYPE,linkname='../secret')", 'path_escapes'],
    [
      'a hard link through a symlink',
      "f('l',b'',type=tarfile.SYMTYPE,linkname='..')\nf('h',b'',type=tarfile.LNKTYPE,linkname='l/secret')",
      'symlink_in_the_way',
    ],
    ['a device', "f('d',b'',type=tarfile.CHRTYPE)", 'unsupported_entry'],
  ])('%s is refused', async (_, script, reason) => {
    writeFileSync(join(dir, 'secret'), 'secret')
    mkdirSync(join(dir, 'dst'))
    await expect(sandbox.json('PUT', `/files/archive?path=${at('dst')}`, tar(script))).rejects.toMatchObject({ reason })
    expect(readdirSync(dir).sort()).toEqual(['dst', 'secret'])
    expect(readFileSync(join(dir, 'secret'), 'latin1')).toBe('secret')
  })

  test('a symlink that is there already is replaced, not followed', async () => {
    mkdirSync(join(dir, 'dst'))
    writeFileSync(join(dir, 'secret'), 'secret')
    symlinkSync('../secret', join(dir, 'dst/f'))
    await sandbox.json('PUT', `/files/archive?path=${at('dst')}`, tar("f('f',b'new')"))
    expect(readFileSync(join(dir, 'secret'), 'latin1')).toBe('secret')
    expect(readFileSync(join(dir, 'dst/f'), 'latin1')).toBe('new')
  })

  test('an archive that is cut is a typed failure', async () => {
    const whole = tar("f('f',b'x'*100000)")
    await expect(
      sandbox.json('PUT', `/files/archive?path=${at('dst')}`, whole.subarray(0, 50_000)),
    ).rejects.toMatchObject({ reason: 'truncated_archive' })
  })
})
