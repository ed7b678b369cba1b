import { CoppiceError } from '@coppice/sdk'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Cli } from './cli.ts'
import { runProgram } from './program.ts'

let out: string
let err: string

beforeEach(() => {
  out = ''
  err = ''
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += text
    return true
  })
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += text
    return true
  })
  vi.stubEnv('COPPICE_URL', 'http://127.0.0.1:1')
  vi.stubEnv('COPPICE_TOKEN', 'x')
})
afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
})

async function run(...argv: string[]) {
  const cli = new Cli('/nowhere')
  await runProgram(argv, cli)
  return { code: cli.exitCode, out, err }
}

describe('the command line', () => {
  it.each([
    [
      'create',
      'run',
      'exec',
      'attach',
      'ps',
      'kill',
      'cp',
      'ls',
      'inspect',
      'logs',
      'network',
      'forward',
      'preview',
      'stats',
      'stop',
      'start',
      'resize',
      'checkpoint',
      'rm',
      'image',
      'gateway',
      'doctor',
    ],
  ])('shows every command in its help', async (...names) => {
    const { code, out } = await run('--help')
    expect(code).toBe(0)
    for (const name of names) expect(out).toMatch(new RegExp(`^  ${name}\\b`, 'm'))
    expect(out).not.toMatch(/^ {2}(fork)\b/m)
  })

  it.each([
    [['exec', 'box'], "missing required argument 'command'"],
    [['exec', 'box', '--timeout', 'soon', '--', 'true'], 'is not a duration'],
    [['create', '--memory', 'much'], 'is not an amount of memory'],
    [['create', '--env', '=x'], 'NAME=VALUE'],
    [['ls', 'surplus'], 'too many arguments'],
    [['sl'], "unknown command 'sl'"],
    [['exec', 'box', '--detach', '-t', '--', 'sh'], '--detach goes with neither'],
    [['gateway', 'start', '--listen', '0.0.0.0:1'], 'TLS'],
    [['create', '--network', 'some'], 'is not a network mode'],
    [['network', 'set', 'box'], 'Nothing is to be changed'],
    [['network', 'set', 'box', '--mode', 'open'], 'is not a network mode'],
    [['forward', 'box'], "missing required argument 'port'"],
    [['forward', 'box', '80:90:100'], 'is not [LOCAL:]PORT'],
    [['preview', 'box', 'http'], 'is not a port'],
    [['preview', 'box', '80', '--public', '--private'], 'exclude each other'],
    [['logs', 'box', '--denied'], 'go with --egress'],
  ])('refuses %j with 125', async (argv, said) => {
    const { code, out, err } = await run(...argv)
    expect({ code, out }).toEqual({ code: 125, out: '' })
    expect(err).toContain(said)
  })

  it('says what is wrong, the code, and what to do', async () => {
    const { code, err } = await run('ls')
    expect(code).toBe(125)
    expect(err).toMatch(
      /^coppice: The gateway at http:\S+ cannot be reached: ECONNREFUSED\. \(unavailable\/connection_failed\)\n {2}coppice gateway status\n$/,
    )
  })

  it('gives a failure as JSON to programs that asked for JSON', async () => {
    const { out } = await run('ls', '--json')
    expect(CoppiceError.fromBody(JSON.parse(out).error)).toMatchObject({ reason: 'connection_failed', retryable: true })
  })
})
