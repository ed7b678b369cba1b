import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeBusyboxArchive } from '@coppice/images/testing'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { CoppiceCommand } from '../support/command.ts'
import { makeHome, ROOT } from '../support/gateway-process.ts'

let home: string
let coppice: CoppiceCommand
let scratch: string

beforeAll(async () => {
  home = makeHome()
  coppice = new CoppiceCommand(home)
  const archive = await makeBusyboxArchive(join(home, 'busybox.tar'))
  const imported = await coppice.run(['image', 'import', archive, '--name', 'base'])
  expect(imported).toMatchObject({ code: 0, stdout: expect.stringMatching(/^sha256:[0-9a-f]{64}\n$/) })
  expect(imported.stderr).toContain('Starting a gateway')
  expect(await coppice.run(['create', '--name', 'box'])).toMatchObject({ code: 0 })
}, 120_000)
afterAll(async () => {
  await coppice.run(['rm', '--all'])
  await coppice.run(['gateway', 'stop'])
  fs.rmSync(home, { recursive: true, force: true })
}, 120_000)
beforeEach(() => {
  scratch = fs.mkdtempSync(join(tmpdir(), 'coppice-cli-'))
})
afterEach(() => fs.rmSync(scratch, { recursive: true, force: true }))

const gatewayRecord = () => JSON.parse(fs.readFileSync(join(home, 'gateway.json'), 'utf8')) as { pid: number }

describe('exec', () => {
  it('keeps both streams apart and passes the exit code through', async () => {
    const result = await coppice.run(['exec', 'box', '--', 'sh', '-c', 'echo out; echo err >&2; exit 7'])
    expect(result).toEqual({ code: 7, signal: null, stdout: 'out\n', stderr: 'err\n' })
  })

  it.each([
    [137, ['--', 'sh', '-c', 'kill -9 $$'], ''],
    [143, ['--', 'sh', '-c', 'kill $$'], ''],
    [124, ['--timeout', '300ms', '--', 'sleep', '60'], ''],
    [127, ['--', 'no-such-program'], 'not_found/program_not_found'],
    [126, ['--', '/etc/passwd'], 'failed_precondition/not_executable'],
    [125, ['--cwd', '/nope', '--', 'true'], 'not_found/cwd_not_found'],
    [125, ['--user', 'nope', '--', 'true'], 'not_found/user_not_found'],
    [125, ['--no-such-option', '--', 'true'], 'unknown option'],
  ])('ends with %i for %j', async (code, args, said) => {
    const result = await coppice.run(['exec', 'box', ...args])
    expect(result).toMatchObject({ code, stdout: '', stderr: expect.stringContaining(said) })
  })

  it('says what to do about a sandbox that is not there', async () => {
    const result = await coppice.run(['exec', 'nobody', '--', 'true'])
    expect(result).toMatchObject({
      code: 125,
      stdout: '',
      stderr: expect.stringContaining('not_found/sandbox_not_found'),
    })
  })

  it('takes directory, user and variables', async () => {
    const line = 'pwd; id -u; echo $A$B'
    const env = { ...coppice.env, B: 'from here' }
    const command = Object.assign(new CoppiceCommand(home), { env })
    const args = [
      'exec',
      'box',
      '--cwd',
      '/tmp',
      '--user',
      'user',
      '--env',
      'A=1 ',
      '--env',
      'B',
      '--',
      'sh',
      '-c',
      line,
    ]
    expect(await command.run(args)).toMatchObject({ code: 0, stdout: '/tmp\n1000\n1 from here\n' })
  })

  it('carries every byte of standard input and output', async () => {
    const bytes = randomBytes(5_000_000)
    const sum = createHash('sha256').update(bytes).digest('hex')
    expect((await coppice.run(['exec', 'box', '-i', '--', 'sha256sum'], bytes)).stdout.split(' ')[0]).toBe(sum)
    const echoed = await coppice.run(['exec', 'box', '-i', '--', 'cat'], bytes)
    expect(createHash('sha256').update(Buffer.from(echoed.stdout, 'latin1')).digest('hex')).toBe(sum)
  })

  it('gives the program no input unless asked to', async () => {
    expect(await coppice.run(['exec', 'box', '--', 'cat'], 'ignored')).toMatchObject({ code: 0, stdout: '' })
  })

  it('ends with its reader, and so does the program', async () => {
    const result = await coppice.shell(
      'set -o pipefail; coppice exec box -- sh -c "exec yes reader" | head -n 2; echo $?',
    )
    expect(result).toMatchObject({ stdout: 'reader\nreader\n141\n', stderr: '' })
    await expect.poll(async () => (await coppice.run(['exec', 'box', '--', 'ps'])).stdout).not.toContain('yes reader')
  })

  it('passes signals on, and kills at the second', async () => {
    const polite = coppice.start([
      'exec',
      'box',
      '--',
      'sh',
      '-c',
      "trap 'echo got it; exit 9' INT; echo ready; while :; do sleep 0.05; done",
    ])
    await expect.poll(() => polite.stdout).toContain('ready')
    polite.child.kill('SIGINT')
    expect(await polite.ended).toMatchObject({ code: 9, stdout: 'ready\ngot it\n' })
    const stubborn = coppice.start([
      'exec',
      'box',
      '--',
      'sh',
      '-c',
      "trap '' TERM; echo ready; while :; do sleep 0.05; done",
    ])
    await expect.poll(() => stubborn.stdout).toContain('ready')
    stubborn.child.kill('SIGTERM')
    await expect.poll(() => stubborn.stderr).toContain('passed on')
    stubborn.child.kill('SIGTERM')
    expect(await stubborn.ended).toMatchObject({ code: 137 })
  })

  it('survives its gateway being killed and started again', async () => {
    const line = 'for i in $(seq 1 400); do echo line $i; sleep 0.01; done; exit 6'
    const running = coppice.start(['exec', 'box', '--', 'sh', '-c', line])
    await expect.poll(() => running.stdout).toContain('line 3\n')
    process.kill(gatewayRecord().pid, 'SIGKILL')
    expect(await coppice.run(['gateway', 'start'])).toMatchObject({ code: 0 })
    const lines = Array.from({ length: 400 }, (_, at) => `line ${at + 1}\n`).join('')
    expect(await running.ended).toEqual({ code: 6, signal: null, stdout: lines, stderr: '' })
  })

  it('prints one JSON value with --json, also for a failure', async () => {
    const result = await coppice.run(['exec', 'box', '--json', '--', 'sh', '-c', 'echo hi; exit 3'])
    expect(result.code).toBe(3)
    expect(JSON.parse(result.stdout)).toMatchObject({ exitCode: 3, stdout: 'hi\n', stderr: '', timedOut: false })
    const failed = await coppice.run(['exec', 'box', '--json', '--', 'nope'])
    expect(failed.code).toBe(127)
    expect(JSON.parse(failed.stdout)).toMatchObject({ error: { code: 'not_found', reason: 'program_not_found' } })
  })
})

describe('a detached exec', () => {
  const program = ['sh', '-c', 'echo first; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo second; exit 4']

  it('prints its id alone, is listed, and can be attached to from any offset', async () => {
    const started = await coppice.run(['exec', 'box', '--detach', '--', ...program])
    expect(started).toMatchObject({ code: 0, stdout: expect.stringMatching(/^ex-[0-9a-z]{16}\n$/), stderr: '' })
    const id = started.stdout.trim()
    expect((await coppice.run(['ps', 'box'])).stdout).toMatch(new RegExp(`${id} +running .*echo first`))
    const following = coppice.start(['attach', 'box', id])
    await expect.poll(() => following.stdout).toBe('first\n')
    following.child.kill('SIGINT')
    const left = await following.ended
    expect(left).toMatchObject({ code: 130, stderr: expect.stringContaining(`coppice attach box ${id} --from 6`) })
    await coppice.run(['exec', 'box', '--', 'touch', '/tmp/go'])
    expect(await coppice.run(['attach', 'box', id, '--from', '6'])).toMatchObject({ code: 4, stdout: 'second\n' })
    expect(await coppice.run(['attach', 'box', id])).toMatchObject({ code: 4, stdout: 'first\nsecond\n' })
  })

  it('ends by kill, with all its descendants', async () => {
    const line = "setsid sh -c 'exec sleep 7654' & exec sleep 7654"
    const id = (await coppice.run(['exec', 'box', '--detach', '--', 'sh', '-c', line])).stdout.trim()
    expect(await coppice.run(['kill', 'box', id])).toMatchObject({ code: 0, stdout: '' })
    expect(await coppice.run(['attach', 'box', id])).toMatchObject({ code: 143 })
    await expect.poll(async () => (await coppice.run(['exec', 'box', '--', 'ps'])).stdout).not.toContain('7654')
    expect(await coppice.run(['kill', 'box', 'ex-0000000000000000'])).toMatchObject({ code: 125 })
  })
})

describe('sandboxes', () => {
  it('are created with an id alone on standard output, listed by label, inspected, removed', async () => {
    const created = await coppice.run([
      'create',
      '--label',
      'set=a',
      '--memory',
      '256',
      '--cpus',
      '0.5',
      '--env',
      'X=y',
    ])
    expect(created).toMatchObject({ code: 0, stdout: expect.stringMatching(/^sb-[0-9a-z]{14}\n$/), stderr: '' })
    const id = created.stdout.trim()
    expect((await coppice.run(['ls', '--label', 'set=a', '-q'])).stdout).toBe(`${id}\n`)
    expect((await coppice.run(['ls', '--label', 'set=b', '-q'])).stdout).toBe('')
    expect((await coppice.run(['ls'])).stdout).toMatch(
      new RegExp(`^ID +NAME +STATE.*\n(.*\n)*${id} +- +running +base +oci +256 MiB +0.5 `),
    )
    const info = JSON.parse((await coppice.run(['inspect', id])).stdout)
    expect(info).toMatchObject({ id, limits: { memoryMB: 256, cpus: 0.5 }, env: { X: 'y' }, labels: { set: 'a' } })
    expect((await coppice.run(['stats', id])).stdout).toMatch(/^memory +.* of 256 MiB$/m)
    expect((await coppice.run(['logs', id])).stdout).toContain('coppice-supervisor')
    expect(await coppice.run(['stop', id, '--grace', '200ms'])).toMatchObject({ code: 0, stdout: `${id}\n` })
    expect(await coppice.run(['exec', id, '--', 'true'])).toMatchObject({
      code: 125,
      stderr: expect.stringContaining('not_running'),
    })
    expect(await coppice.run(['start', id])).toMatchObject({ code: 0 })
    expect(await coppice.run(['exec', id, '--', 'true'])).toMatchObject({ code: 0 })
    expect(await coppice.run(['rm', '--label', 'set=a'])).toMatchObject({ code: 0, stdout: `${id}\n` })
    expect(JSON.parse((await coppice.run(['inspect', id])).stdout)).toMatchObject({
      state: 'removed',
      end: { reason: 'removed' },
    })
  })

  it('are made, used and removed by run, which passes the exit code through', async () => {
    const before = (await coppice.run(['ls', '-q'])).stdout
    expect(await coppice.run(['run', '-i', '--', 'sh', '-c', 'cat; exit 5'], 'given')).toMatchObject({
      code: 5,
      stdout: 'given',
    })
    expect(await coppice.run(['run', '--', 'nope'])).toMatchObject({ code: 127 })
    expect((await coppice.run(['ls', '-q'])).stdout).toBe(before)
  })

  it('are not removed by a command that does not say which', async () => {
    expect(await coppice.run(['rm'])).toMatchObject({ code: 125 })
    expect(await coppice.run(['rm', 'box', '--all'])).toMatchObject({ code: 125 })
    expect(await coppice.run(['rm', 'nobody'])).toMatchObject({
      code: 125,
      stderr: expect.stringContaining('sandbox_not_found'),
    })
  })
})

describe('cp', () => {
  it('copies files and folders in, out and across, as cp -r would', async () => {
    const from = join(scratch, 'from')
    fs.mkdirSync(join(from, 'sub', 'empty'), { recursive: true })
    fs.writeFileSync(join(from, 'sub', 'data'), randomBytes(1_000_000))
    fs.writeFileSync(join(from, 'run.sh'), '#!/bin/sh\n', { mode: 0o755 })
    fs.symlinkSync('sub/data', join(from, 'link'))
    await coppice.run(['create', '--name', 'other'])
    const steps = `set -e
      coppice exec box -- mkdir /work
      coppice cp ${from} box:/work
      coppice cp box:/work/from other:/tmp
      coppice cp other:/tmp/from ${scratch}/to
      coppice cp other:/tmp/from/. ${scratch}/to2
      coppice cp box:/work/from/run.sh ${scratch}
      coppice cp ${scratch}/run.sh box:/work/renamed
      coppice exec box -- stat -c %a /work/renamed
      coppice cp box:/work - | tar t | sort | head -n 3
      tar c -C ${from} . | coppice cp - other:/srv && coppice exec other -- ls /srv
      diff -r ${from} ${scratch}/to && diff -r ${from} ${scratch}/to2 && cmp ${from}/run.sh ${scratch}/run.sh`
    const result = await coppice.shell(steps)
    expect(result).toMatchObject({ code: 0, stderr: '' })
    expect(result.stdout).toBe('755\n./\n./from/\n./from/link\nlink\nrun.sh\nsub\n')
    expect(fs.readlinkSync(join(scratch, 'to', 'link'))).toBe('sub/data')
    await coppice.run(['rm', 'other'])
  })

  it.each([
    ['box:/nope', '.', 'not_found'],
    ['/no/such/file', 'box:/tmp', 'local_file_not_found'],
    ['/etc', 'box:/etc/passwd', 'in_the_way'],
    ['/etc/hostname', 'box:/nope/deep', 'not_found'],
    ['a', 'b', 'usage'],
    ['nobody:/x', '.', 'sandbox_not_found'],
  ])('refuses %s to %s, and says why', async (source, target, why) => {
    const result = await coppice.run(['cp', source, target])
    expect(result).toMatchObject({ code: 125, stderr: expect.stringContaining(why) })
  })
})

describe('what later releases bring', () => {
  it.each([
    [['fork', 'box', '--count', '3'], 'fork'],
    [['restore', 'box', 'x'], 'restore'],
    [['create', '--ttl', '1h'], 'ttl'],
  ])('is refused politely: %j', async (argv, reason) => {
    const result = await coppice.run(argv)
    expect(result).toMatchObject({ code: 125, stdout: '', stderr: expect.stringContaining(`(unsupported/${reason})`) })
  })
})

describe('images', () => {
  it('are exported whole and imported again', async () => {
    const file = join(scratch, 'copy.tar')
    expect(await coppice.run(['image', 'export', 'base', file])).toMatchObject({ code: 0 })
    expect(await coppice.run(['image', 'import', `oci-archive:${file}`, '--name', 'copy'])).toMatchObject({ code: 0 })
    const images = JSON.parse((await coppice.run(['image', 'ls', '--json'])).stdout) as {
      name: string
      digest: string
    }[]
    expect(images.find(({ name }) => name === 'copy')?.digest).toBe(images.find(({ name }) => name === 'base')?.digest)
    expect((await coppice.run(['image', 'ls'])).stdout).toMatch(/^copy +[0-9a-f]{12} /m)
    expect(await coppice.run(['image', 'rm', 'copy'])).toMatchObject({ code: 0 })
    expect(await coppice.run(['image', 'export', 'copy', join(scratch, 'none.tar')])).toMatchObject({ code: 125 })
    expect(fs.readdirSync(scratch)).toEqual(['copy.tar'])
  })
})

describe('the gateway', () => {
  it('is one, however many start it at once', async () => {
    await coppice.run(['gateway', 'stop'])
    const starts = await Promise.all(Array.from({ length: 3 }, () => coppice.run(['gateway', 'start'])))
    expect(starts.map(({ code }) => code)).toEqual([0, 0, 0])
    const pids = starts.map(({ stderr }) => /pid (\d+)/.exec(stderr)?.[1])
    expect(new Set(pids)).toEqual(new Set([String(gatewayRecord().pid)]))
  })

  it('tells its status to programs and people, and is not started by that', async () => {
    const status = JSON.parse((await coppice.run(['gateway', 'status', '--json'])).stdout)
    expect(status).toMatchObject({
      pid: gatewayRecord().pid,
      home,
      url: expect.stringMatching(/^http:\/\/127/),
      version: '0.1.0',
    })
    expect((await coppice.run(['gateway', 'status'])).stdout).toContain(status.url)
    const pid = status.pid as number
    expect(await coppice.run(['gateway', 'stop'])).toMatchObject({ code: 0, stdout: '' })
    expect(() => process.kill(pid, 0)).toThrow()
    const down = await coppice.run(['gateway', 'status'])
    expect(down).toMatchObject({ code: 125, stderr: expect.stringContaining('coppice gateway start') })
    expect(fs.existsSync(join(home, 'gateway.json'))).toBe(false)
  })

  it('that is interrupted while it starts leaves nothing half started', async () => {
    const early = makeHome()
    const gateway = new CoppiceCommand(early).start(['gateway', 'start', '--foreground'])
    await expect.poll(() => fs.existsSync(join(early, 'token')), { timeout: 20_000, interval: 1 }).toBe(true)
    gateway.child.kill('SIGTERM')
    expect(await gateway.ended).toMatchObject({ code: 0 })
    expect(fs.existsSync(join(early, 'gateway.json'))).toBe(false)
    fs.rmSync(early, { recursive: true })
  })

  it('leaves the sandboxes running when it stops, and finds them when a command starts it', async () => {
    await coppice.run(['exec', 'box', '--', 'touch', '/tmp/stays'])
    await coppice.run(['gateway', 'stop'])
    const result = await coppice.run(['exec', 'box', '--', 'ls', '/tmp/stays'])
    expect(result).toMatchObject({
      code: 0,
      stdout: '/tmp/stays\n',
      stderr: expect.stringContaining('Starting a gateway'),
    })
  })

  it('that cannot start says why, with the end of its log', async () => {
    const broken = makeHome()
    fs.writeFileSync(join(broken, 'config.json'), '{"nonsense": true}')
    const result = await new CoppiceCommand(broken).run(['ls'])
    expect(result).toMatchObject({ code: 125, stderr: expect.stringMatching(/gateway_failed/) })
    expect(result.stderr).toContain('config.json')
    expect(result.stderr).not.toContain('"level"')
    fs.rmSync(broken, { recursive: true })
  })

  it('takes a scratch folder for the one that the command which starts it would find', async () => {
    const own = makeHome()
    const start = `cd ${own} && COPPICE_SCRATCH_DIR=mine coppice gateway start`
    expect(await new CoppiceCommand(own).shell(`${start} && coppice gateway stop`)).toMatchObject({ code: 0 })
    expect(fs.statSync(join(own, 'mine')).mode & 0o777).toBe(0o700)
    fs.rmSync(own, { recursive: true })
  })

  it('serves no other machine without TLS', async () => {
    const result = await coppice.run(['gateway', 'start', '--listen', '0.0.0.0:0'])
    expect(result).toMatchObject({ code: 125, stderr: expect.stringContaining('TLS') })
  })

  it('stays in the foreground when asked to, until it is interrupted', async () => {
    await coppice.run(['gateway', 'stop'])
    const gateway = coppice.start(['gateway', 'start', '--foreground'])
    await expect.poll(() => fs.existsSync(join(home, 'gateway.json')), { timeout: 20_000 }).toBe(true)
    gateway.child.kill('SIGTERM')
    expect(await gateway.ended).toMatchObject({ code: 0 })
  })
})

describe('bin/coppice', () => {
  it('works through links and from any folder', async () => {
    fs.symlinkSync(join(ROOT, 'bin', 'coppice'), join(scratch, 'first'))
    fs.symlinkSync('first', join(scratch, 'second'))
    const linked = await new CoppiceCommand(home, join(scratch, 'second')).shell(`cd ${scratch} && ./second --version`)
    expect(linked).toMatchObject({ code: 0, stdout: '0.1.0\n' })
  })

  it('shows examples in its help', async () => {
    for (const argv of [['--help'], ['exec', '--help'], ['cp', '--help'], ['image', '--help'], ['gateway', '--help']]) {
      expect(await coppice.run(argv)).toMatchObject({ code: 0, stdout: expect.stringContaining('Example') })
    }
    expect(await coppice.run(['nonsense'])).toMatchObject({
      code: 125,
      stderr: expect.stringContaining('unknown command'),
    })
  })
})
