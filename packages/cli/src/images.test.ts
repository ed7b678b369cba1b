import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CoppiceError } from '@coppice/sdk'
import { FakeImages } from '@coppice/sdk/testing'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Cli } from './cli.ts'
import { parseSource, parseTarget } from './image-place.ts'
import { runProgram } from './program.ts'

let gateway: FakeImages
let scratch: string
let out: string
let err: string
beforeEach(async () => {
  gateway = await new FakeImages().start()
  scratch = mkdtempSync(join(tmpdir(), 'coppice-cli-images-'))
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += text
    return true
  })
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += text
    return true
  })
  vi.stubEnv('COPPICE_URL', gateway.url)
  vi.stubEnv('COPPICE_TOKEN', gateway.token)
})
afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
  gateway.stop()
  rmSync(scratch, { recursive: true })
})

async function run(...argv: string[]) {
  out = ''
  err = ''
  const cli = new Cli('/nowhere')
  await runProgram(argv, cli)
  return { code: cli.exitCode, out, err }
}

function appFolder(): string {
  const folder = join(scratch, 'app')
  mkdirSync(folder)
  writeFileSync(join(folder, 'Dockerfile'), 'FROM x')
  return folder
}

describe('image pull and import', () => {
  it('print the digest', async () => {
    expect(await run('image', 'pull', 'alpine:3', '--name', 'a', '--platform', 'linux/arm64')).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^sha256:0{64}\n$/),
    })
    expect(JSON.parse(gateway.of('pull')[0]?.body.toString() ?? '')).toEqual({
      source: 'alpine:3',
      name: 'a',
      platform: 'linux/arm64',
    })
  })

  it('take an image of an engine by a pull', async () => {
    expect(await run('image', 'import', 'podman:app:1', '--name', 'app')).toMatchObject({ code: 0 })
    expect(JSON.parse(gateway.of('pull')[0]?.body.toString() ?? '')).toEqual({ source: 'podman:app:1', name: 'app' })
  })

  it('send a file by its transport, and the image in it that is meant', async () => {
    const file = join(scratch, 'all.tar')
    writeFileSync(file, 'x')
    expect(await run('image', 'import', `docker-archive:${file}:app:1`)).toMatchObject({ code: 0 })
    expect(Object.fromEntries(gateway.of('import')[0]?.query ?? [])).toEqual({
      format: 'docker-archive',
      ref: 'app:1',
      fallbackName: 'all',
    })
  })

  it('say what a name that is no file may be', async () => {
    const { code, err } = await run('image', 'import', 'alpine')
    expect(code).toBe(125)
    expect(err).toContain('coppice image pull alpine')
    expect(gateway.calls).toEqual([])
  })

  it('tell programs progress as lines of JSON', async () => {
    gateway.faults.set('pull', { events: [{ event: 'progress', message: 'Downloading', done: 1, total: 2 }] })
    const { out, err } = await run('image', 'pull', 'alpine', '--json')
    expect(JSON.parse(out)).toMatchObject({ name: 'alpine', facts: { bytes: 7 } })
    expect(JSON.parse(err)).toEqual({ event: 'progress', message: 'Downloading', done: 1, total: 2 })
  })
})

describe('image export', () => {
  it('writes what came under the name that was given', async () => {
    gateway.archive = Buffer.from('archive')
    const file = join(scratch, 'app.tar')
    expect(await run('image', 'export', 'base', `docker-archive:${file}:x:1`)).toMatchObject({ code: 0, out: '' })
    expect(readFileSync(file, 'utf8')).toBe('archive')
    expect(Object.fromEntries(gateway.of('export')[0]?.query ?? [])).toEqual({
      ref: 'base',
      format: 'docker-archive',
      name: 'x:1',
    })
  })

  it('tells programs what was written', async () => {
    gateway.archive = Buffer.from('archive')
    const file = join(scratch, 'app.tar')
    const { code, out } = await run('image', 'export', 'base', file, '--json')
    expect({ code, ...JSON.parse(out) }).toEqual({ code: 0, path: file, bytes: 7 })
    const refused = await run('image', 'export', 'base', '-', '--json')
    expect(refused.code).toBe(125)
    expect(refused.err).toContain('standard output')
  })

  it.each([
    ['app.tgz', 'gzip'],
    ['app.tar.gz', 'gzip'],
    ['app.tar.zst', 'zstd'],
    ['app.TXZ', 'xz'],
  ])('says that %s is not packed, and what packs it', async (name, tool) => {
    const file = join(scratch, name)
    const { code, err } = await run('image', 'export', 'base', file)
    expect(code).toBe(0)
    expect(err).toContain(`${file} is a plain tar`)
    expect(err).toContain(`coppice image export base - | ${tool} > ${file}`)
    expect((await run('image', 'export', 'base', `docker-archive:${file}`)).err).toContain(
      `coppice image export base docker-archive:- | ${tool} > ${file}`,
    )
    expect(existsSync(file)).toBe(true)
    const json = await run('image', 'export', 'base', file, '--json')
    expect(
      json.err
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line).event),
    ).toContain('log')
  })

  it('leaves nothing of what was cut off', async () => {
    gateway.archive = Buffer.alloc(4096)
    gateway.faults.set('export', { cut: true })
    expect(await run('image', 'export', 'base', join(scratch, 'x'))).toMatchObject({ code: 125 })
    expect(readdirSync(scratch)).toEqual([])
  })

  it('writes to standard output by any name of an archive', async () => {
    gateway.archive = Buffer.from('archive')
    for (const target of ['-', 'docker-archive:-', 'oci-archive:-']) {
      expect(await run('image', 'export', 'base', target)).toMatchObject({ code: 0, out: 'archive' })
    }
    expect(gateway.of('export').map(({ query }) => query.get('format'))).toEqual([
      null,
      'docker-archive',
      'oci-archive',
    ])
    expect(existsSync('-')).toBe(false)
  })

  it('refuses a folder, before the gateway is asked', async () => {
    const { code, err } = await run('image', 'export', 'base', scratch)
    expect(code).toBe(125)
    expect(err).toContain(`${scratch} is a folder`)
    expect(err).toContain(`coppice image export base oci:${scratch}`)
    expect(gateway.calls).toEqual([])
  })

  it('does not take a transport that it does not serve for the name of a file', async () => {
    const { code, err } = await run('image', 'export', 'base', `dir:${scratch}/x`)
    expect(code).toBe(125)
    expect(err).toContain('unsupported/image_transport')
    expect(err).toContain(`coppice image export base image.tar && skopeo copy oci-archive:image.tar dir:${scratch}/x`)
    expect((await run('image', 'push', 'base', 'dir:x')).err).toContain('skopeo copy oci-archive:image.tar dir:x')
  })

  it('to what is called like a registry says how that is reached', async () => {
    const { code, err } = await run('image', 'export', 'base', 'ghcr.io/me/app:1')
    expect(code).toBe(125)
    expect(err).toContain('coppice image push base ghcr.io/me/app:1')
    expect(gateway.calls).toEqual([])
  })

  it('and push name each other for the places that they do not serve', async () => {
    expect((await run('image', 'export', 'base', 'container:x')).err).toContain('coppice image push base container:x')
    expect((await run('image', 'push', 'base', 'oci:dir')).err).toContain('coppice image export base oci:dir')
    expect(gateway.calls).toEqual([])
  })
})

describe('image push', () => {
  it('prints where the archive is that it has left in a container', async () => {
    expect(await run('image', 'push', 'app', 'container:x:/images')).toMatchObject({ code: 0, out: '/tmp/x.tar\n' })
  })

  it('of an image of an engine goes into containers alone, and says how it goes elsewhere', async () => {
    const { code, err } = await run('image', 'push', 'docker-daemon:app:1', 'ghcr.io/a/b')
    expect(code).toBe(125)
    expect(err).toContain('coppice image pull docker-daemon:app:1')
    expect(gateway.calls).toEqual([])
  })

  it.each([
    [['app', 'container:x', '--import', 'load'], '{file}'],
    [['app', 'ghcr.io/a/b', '--import', 'load {file}'], 'container:NAME'],
  ])('refuses %j', async (argv, said) => {
    const { code, err } = await run('image', 'push', ...argv)
    expect(code).toBe(125)
    expect(err).toContain(said)
  })
})

describe('image build', () => {
  it('prints the name, and the log beside it', async () => {
    const folder = appFolder()
    gateway.faults.set('build', { events: [{ event: 'log', line: 'Step 1/1 : FROM x' }] })
    const first = await run('image', 'build', folder, '--build-arg', 'A=1', '--target', 't')
    expect(first).toMatchObject({ code: 0, out: expect.stringMatching(/^build\/[0-9a-f]{24}\n$/) })
    expect(first.err).toContain('Step 1/1 : FROM x\n')
    const again = await run('image', 'build', folder, '--build-arg', 'A=1', '--target', 't')
    expect(again).toMatchObject({ code: 0, out: first.out })
    expect(again.err.match(/cached by content/g)).toHaveLength(1)
    expect(gateway.of('build')).toHaveLength(1)
  })

  it('takes a variable of the build from the environment, unless it has none', async () => {
    process.env.COPPICE_TEST_HERE = 'a=b'
    const args = ['--build-arg', 'COPPICE_TEST_HERE', '--build-arg', 'COPPICE_TEST_NOT_SET', '--build-arg', 'C=']
    expect(await run('image', 'build', appFolder(), '-t', 'app', ...args)).toMatchObject({ code: 0 })
    delete process.env.COPPICE_TEST_HERE
    const query = gateway.of('build')[0]?.query as URLSearchParams
    expect(query.getAll('buildArg')).toEqual(['COPPICE_TEST_HERE=a=b', 'C='])
  })

  it('refuses a name that no image can have before anything is asked or read', async () => {
    const refused = await run('image', 'build', appFolder(), '-t', 'Not a name')
    expect(refused).toMatchObject({ code: 125, err: expect.stringContaining('cannot be the name of an image') })
    expect(refused.err).not.toContain('context')
    expect(gateway.of('build')).toEqual([])
  })

  it('that fails ends with 1 and says where', async () => {
    gateway.faults.set('build', {
      error: new CoppiceError('failed_precondition', 'build_failed', 'The build failed at RUN false: status 1.'),
    })
    const { code, out, err } = await run('image', 'build', appFolder(), '-t', 'app')
    expect({ code, out }).toEqual({ code: 1, out: '' })
    expect(err).toContain('The build failed at RUN false: status 1.')
  })

  it('reads secrets from files and variables, as `docker build` names them', async () => {
    writeFileSync(join(scratch, '.npmrc'), 'of a file')
    vi.stubEnv('TOKEN', 'of a variable')
    const specs = [`id=npm,src=${join(scratch, '.npmrc')}`, 'id=a,env=TOKEN', 'type=env,id=b,src=TOKEN', 'id=TOKEN']
    const { code } = await run('image', 'build', appFolder(), ...specs.flatMap((spec) => ['--secret', spec]))
    expect(code).toBe(0)
    const [call] = gateway.of('build')
    expect(call?.query.getAll('secret')).toEqual(['npm:9', 'a:13', 'b:13', 'TOKEN:13'])
    expect(call?.body.subarray(0, 22).toString()).toBe('of a fileof a variable')
  })

  it.each([
    ['id=npm,src=/nowhere/at/all', 'local_file_not_found'],
    ['id=npm,env=NOT_SET_ANYWHERE', 'NOT_SET_ANYWHERE'],
    ['src=x', 'needs an id'],
    ['my-password', 'src='],
    ['id=a b,env=PATH', 'bad_build_secret'],
  ])('refuses the secret %s', async (spec, said) => {
    const { code, err } = await run('image', 'build', appFolder(), '--secret', spec)
    expect(code).toBe(125)
    expect(err).toContain(said)
    expect(err).not.toContain('my-password')
    expect(gateway.calls).toEqual([])
  })

  it('of what is no folder, or without a name, is refused before a gateway is started', async () => {
    vi.stubEnv('COPPICE_URL', '')
    const file = join(appFolder(), 'Dockerfile')
    for (const [argv, said] of [
      [[file], `--file ${file} ${join(file, '..')}`],
      [[join(scratch, 'nowhere')], 'There is no'],
      [[join(file, '..'), '-t', ''], '--name needs a name'],
    ] as const) {
      const { code, err } = await run('image', 'build', ...argv)
      expect(code).toBe(125)
      expect(err).toContain(said)
      expect(err).not.toContain('Starting a gateway')
    }
  })

  it('that cannot begin ends with 125', async () => {
    expect(await run('image', 'build', scratch)).toMatchObject({
      code: 125,
      err: expect.stringContaining('dockerfile_not_found'),
    })
  })

  it('is cancelled by Ctrl-C', async () => {
    gateway.faults.set('build', { hang: true, events: [{ event: 'log', line: 'Step 1/1' }] })
    vi.mocked(process.stderr.write).mockImplementation((text) => {
      if (String(text).includes('Step 1/1')) process.emit('SIGINT', 'SIGINT')
      return true
    })
    expect(await run('image', 'build', appFolder(), '-t', 'app')).toMatchObject({ code: 130, out: '' })
    expect(process.listenerCount('SIGINT')).toBe(0)
  })
})

describe('create --from', () => {
  it('says what it took it for', async () => {
    const folder = appFolder()
    const file = join(scratch, 'x.tar')
    writeFileSync(file, 'x')
    gateway.names.add('app:1')
    for (const [from, said] of [
      [folder, `build of ${folder}`],
      [file, `archive ${file}`],
      ['app:1', 'image app:1'],
      ['alpine', 'pulled alpine'],
    ] as const) {
      const { code, out, err } = await run('create', '--from', from)
      expect({ code, out }).toEqual({ code: 0, out: 'sb-1\n' })
      expect(err.split('\n')).toContain(said)
    }
  })

  it('says nothing of the image that everybody gets', async () => {
    expect(await run('create')).toEqual({ code: 0, out: 'sb-1\n', err: '' })
  })
})

it('image rm removes all that are named, and goes on after one that cannot be removed', async () => {
  gateway.names.add('a').add('b')
  const { code, out, err } = await run('image', 'rm', 'a', 'none', 'b')
  expect({ code, out }).toEqual({ code: 125, out: 'a\nb\n' })
  expect(err).toContain('There is no image "none"')
})

it('image rm tells programs which went', async () => {
  gateway.names.add('a').add('b')
  const { code, out } = await run('image', 'rm', 'a', 'b', '--json')
  expect({ code, value: JSON.parse(out) }).toEqual({ code: 0, value: [{ ref: 'a' }, { ref: 'b' }] })
  const missing = await run('image', 'rm', 'none', '--json')
  expect({ code: missing.code, value: JSON.parse(missing.out) }).toMatchObject({
    code: 125,
    value: { error: { reason: 'image_not_found' } },
  })
})

it('image prune says what went', async () => {
  expect(await run('image', 'prune')).toEqual({ code: 0, out: '', err: 'Removed 1 image, 2 blobs: 2.0 KiB.\n' })
})

describe('a place', () => {
  it('to export to is a file unless a transport says otherwise', () => {
    expect(parseTarget('base.oci')).toEqual({ kind: 'file', path: 'base.oci' })
    expect(parseTarget('oci:/dir:app:1')).toEqual({ kind: 'oci', path: '/dir', reference: 'app:1' })
    expect(parseTarget('-')).toEqual({ kind: 'stdio' })
  })

  it('to import from is a file when it is there', () => {
    const file = join(scratch, 'odd:name')
    expect(() => parseSource(`docker-archive:`)).toThrow(expect.objectContaining({ reason: 'invalid_image_place' }))
    writeFileSync(file, '')
    expect(parseSource(file)).toEqual({ kind: 'file', path: file })
    expect(parseSource(`docker-archive:${file}`)).toEqual({ kind: 'docker-archive', path: file, reference: undefined })
  })
})
