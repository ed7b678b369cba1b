import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Coppice, CoppiceError, Image, Sandbox } from '@coppice/sdk'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openWorld, type World } from '../support/world.ts'

const MiB = 1024 * 1024

let world: World
let sandbox: Sandbox
let scratch: string

beforeAll(async () => {
  world = await openWorld()
  sandbox = await world.create()
})
afterAll(() => world?.dispose())
beforeEach(() => {
  scratch = fs.mkdtempSync(join(tmpdir(), 'coppice-e2e-'))
})
afterEach(() => fs.rmSync(scratch, { recursive: true, force: true }))

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

describe('a sandbox', () => {
  it('is created from an image, found by id and name and label, and removed at the end of its block', async () => {
    const { client } = world
    let id: string
    {
      const options = {
        image: Image.ref('busybox'),
        name: 'block',
        labels: { run: '7' },
        env: { GREETING: 'hi' },
        client,
      }
      await using box = await Sandbox.create(options)
      id = box.id
      expect((await Sandbox.connect('block', { client })).id).toBe(id)
      expect((await Sandbox.list({ labels: { run: '7' }, client })).map((info) => info.id)).toEqual([id])
      expect(await Sandbox.list({ labels: { run: '8' }, client })).toEqual([])
      expect((await box.exec('echo $GREETING')).stdout).toBe('hi\n')
      expect(await box.inspect()).toMatchObject({ state: 'running', name: 'block', labels: { run: '7' } })
    }
    await expect(Sandbox.connect(id, { client }).then((box) => box.exec(['true']))).rejects.toBeInstanceOf(CoppiceError)
  })

  it('is created once however often the same key asks', async () => {
    const [first, second] = await Promise.all([world.create({ key: 'k' }), world.create({ key: 'k' })])
    expect(first.id).toBe(second.id)
    await first.remove()
  })

  it('keeps its files over stop and start', async () => {
    const box = await world.create()
    await box.files.write('/kept', 'kept')
    expect(await box.stop({ graceMs: 200 })).toMatchObject({ state: 'stopped', end: { reason: 'stopped' } })
    await expect(box.exec(['true'])).rejects.toMatchObject({ code: 'failed_precondition', reason: 'not_running' })
    expect(await box.start()).toMatchObject({ state: 'running' })
    expect(await box.files.readText('/kept')).toBe('kept')
    expect((await box.stats()).memoryLimitBytes).toBe(512 * MiB)
    expect(await box.logs()).toContain('coppice-supervisor')
    await box.remove()
  })

  it.each(['fork', 'restore'] as const)('refuses %s by name until it can', async (method) => {
    const call = sandbox[method] as (argument?: unknown) => Promise<unknown>
    await expect(call.call(sandbox, 'x')).rejects.toMatchObject({ code: 'unsupported', reason: method })
  })
})

describe('exec', () => {
  it('gives exit codes, signals, both streams, as values', async () => {
    const result = await sandbox.exec('echo out; echo err >&2; exit 7', { cwd: '/tmp' })
    expect(result).toMatchObject({
      exitCode: 7,
      signal: null,
      stdout: 'out\n',
      stderr: 'err\n',
      timedOut: false,
      gaps: [],
    })
    expect(await sandbox.exec('kill -USR1 $$')).toMatchObject({ exitCode: null, signal: 'SIGUSR1' })
    expect(await sandbox.exec(['sleep', '60'], { timeoutMs: 200 })).toMatchObject({ timedOut: true })
  })

  it.each<[string, string[], Record<string, string>]>([
    ['program_not_found', ['/nope'], {}],
    ['not_executable', ['/etc/passwd'], {}],
    ['cwd_not_found', ['true'], { cwd: '/nope' }],
    ['user_not_found', ['true'], { user: 'nope' }],
  ])('is an exception with the reason %s', async (reason, argv, options) => {
    await expect(sandbox.exec(argv, options)).rejects.toMatchObject({ reason })
    await expect(sandbox.spawn(argv, options)).rejects.toMatchObject({ reason })
  })

  it('gives back the bytes of its input', async () => {
    const bytes = randomBytes(20 * MiB)
    const { stdout } = await sandbox.exec(['sha256sum'], { stdin: bytes })
    expect(stdout.split(' ')[0]).toBe(sha256(bytes))
  })

  it('does not wait for input that the program leaves', async () => {
    expect(await sandbox.exec(['head', '-c', '3'], { stdin: Buffer.alloc(8 * MiB, 'x') })).toMatchObject({
      stdout: 'xxx',
    })
  })

  it('kills the program when it is aborted', async () => {
    const controller = new AbortController()
    const call = sandbox.exec('touch /tmp/started; exec sleep 4321', { signal: controller.signal })
    call.catch(() => {})
    await expect.poll(() => sandbox.files.stat('/tmp/started').catch(() => undefined)).toBeDefined()
    controller.abort()
    await expect(call).rejects.toMatchObject({ code: 'cancelled' })
    await expect.poll(async () => (await sandbox.exec("ps | grep '[s]leep 4321'")).stdout).toBe('')
  })

  it('shows execs while they run and after', async () => {
    const exec = await sandbox.spawn(['sleep', '1000'], { key: 'listed' })
    const listed = (await sandbox.execs()).find(({ id }) => id === exec.id)
    expect(listed).toMatchObject({ key: 'listed', state: 'running', argv: ['sleep', '1000'] })
    await sandbox.kill(exec.id)
    expect(await exec.result).toMatchObject({ signal: 'SIGTERM' })
    expect(await exec.inspect()).toMatchObject({ state: 'exited' })
  })

  it('talks with a program on a terminal, and resizes it', async () => {
    const exec = await sandbox.spawn(['sh'], { pty: { cols: 90, rows: 20 } })
    let output = ''
    const reading = (async () => {
      for await (const chunk of exec.output) if (chunk.stream !== 'gap') output += chunk.bytes.toString()
    })()
    await exec.stdin.write('stty size\n')
    await expect.poll(() => output).toContain('20 90')
    await exec.resize(100, 33)
    await exec.stdin.write('stty size; exit 3\n')
    await reading
    expect(output).toContain('33 100')
    expect(await exec.result).toMatchObject({ exitCode: 3 })
  })
})

describe('files', () => {
  it('go up and down as they are', async () => {
    const bytes = randomBytes(9 * MiB + 1)
    fs.writeFileSync(join(scratch, 'up'), bytes, { mode: 0o750 })
    await sandbox.files.upload(join(scratch, 'up'), '/tmp/up')
    expect(await sandbox.files.stat('/tmp/up')).toMatchObject({ type: 'file', size: bytes.length, mode: 0o750 })
    await sandbox.files.download('/tmp/up', join(scratch, 'down'))
    expect(fs.readFileSync(join(scratch, 'down')).equals(bytes)).toBe(true)
    expect((await sandbox.files.read('/tmp/up', { offset: 5, length: 7 })).equals(bytes.subarray(5, 12))).toBe(true)
  })

  it('are stated, listed, moved, removed', async () => {
    const { files } = sandbox
    await files.mkdir('/tmp/dir/deep')
    await files.write('/tmp/dir/a', 'abc')
    await files.move('/tmp/dir/a', '/tmp/dir/b')
    const { entries, truncated } = await files.list('/tmp/dir')
    expect(entries.map(({ path, type }) => [path.split('/').at(-1), type])).toEqual([
      ['b', 'file'],
      ['deep', 'directory'],
    ])
    expect(truncated).toBe(false)
    await expect(files.remove('/tmp/dir')).rejects.toBeInstanceOf(CoppiceError)
    await files.remove('/tmp/dir', { recursive: true })
    await expect(files.stat('/tmp/dir')).rejects.toMatchObject({ code: 'not_found' })
    await files.remove('/tmp/dir', { force: true })
  })

  it('may have names that are not UTF-8', async () => {
    const path = Buffer.concat([Buffer.from('/tmp/odd-'), Buffer.from([0xff, 0x0a, 0x20, 0x25])])
    await sandbox.files.write(path, 'odd')
    expect((await sandbox.files.read(path)).toString()).toBe('odd')
  })

  it('go up and down as folders: modes, symlinks, hard links, empty folders, odd names', async () => {
    const from = join(scratch, 'from')
    fs.mkdirSync(join(from, 'empty'), { recursive: true })
    fs.writeFileSync(join(from, 'program'), '#!/bin/sh\n', { mode: 0o755 })
    fs.writeFileSync(join(from, 'data'), randomBytes(2 * MiB))
    fs.linkSync(join(from, 'data'), join(from, 'linked'))
    fs.symlinkSync('data', join(from, 'symlink'))
    fs.writeFileSync(join(from, `${'n'.repeat(200)}`), 'long')
    fs.writeFileSync(Buffer.concat([Buffer.from(`${from}/`), Buffer.from([0xfe, 0xff])]), 'odd')
    await sandbox.files.upload(from, '/tmp/folder')
    await sandbox.files.download('/tmp/folder', join(scratch, 'to'))
    const describeTree = (folder: string) =>
      execFileSync(
        'sh',
        ['-c', "find . -printf '%P %y %m %l %n\\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum"],
        {
          cwd: join(scratch, folder),
        },
      ).toString('latin1')
    expect(describeTree('to')).toBe(describeTree('from'))
  })

  it('that are not there are not_found', async () => {
    await expect(sandbox.files.read('/nope')).rejects.toMatchObject({ code: 'not_found' })
    await expect(sandbox.files.readArchive('/nope')).rejects.toMatchObject({ code: 'not_found' })
    await expect(sandbox.files.download('/nope', join(scratch, 'x'))).rejects.toMatchObject({ code: 'not_found' })
    expect(fs.readdirSync(scratch)).toEqual([])
  })
})

describe('a gateway that is killed and started again', () => {
  it('costs no byte of an upload, a download and an exec that are under way', async () => {
    const bytes = randomBytes(48 * MiB)
    let released = () => {}
    const restarted = new Promise<void>((resolve) => {
      released = resolve
    })
    async function* slowly() {
      yield bytes.subarray(0, 8 * MiB)
      await restarted
      yield bytes.subarray(8 * MiB)
    }
    const exec = await sandbox.spawn('while [ ! -e /tmp/go-on ]; do usleep 20000; done; echo went on; exit 5')
    await sandbox.files.write('/tmp/for-download', bytes)
    const stream = sandbox.files.readStream('/tmp/for-download')
    const reader = stream[Symbol.asyncIterator]()
    const first = (await reader.next()).value as Buffer
    const upload = sandbox.files.write('/tmp/uploaded', slowly())
    upload.catch(() => {})
    await world.gateway.kill()
    await world.gateway.start()
    released()
    await upload
    const rest: Buffer[] = []
    for (let next = await reader.next(); !next.done; next = await reader.next()) rest.push(next.value as Buffer)
    await sandbox.files.write('/tmp/go-on', '')
    expect(sha256(Buffer.concat([first, ...rest]))).toBe(sha256(bytes))
    expect((await sandbox.exec(['sha256sum', '/tmp/uploaded'])).stdout.split(' ')[0]).toBe(sha256(bytes))
    expect(await exec.result).toMatchObject({ exitCode: 5, stdoutBytes: 8 })
  })
})

describe('a client', () => {
  it('says at once when no gateway runs', async () => {
    const client = new Coppice({ home: scratch })
    await expect(client.status()).rejects.toMatchObject({
      reason: 'gateway_not_running',
      hint: 'coppice gateway start',
    })
  })

  it('lists images and tells the status', async () => {
    expect((await world.client.images.list()).map(({ name }) => name)).toContain('busybox')
    expect(await world.client.status()).toMatchObject({ home: world.gateway.home, url: world.gateway.url })
  })
})
