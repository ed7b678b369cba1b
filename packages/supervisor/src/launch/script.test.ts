import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { expect, test } from 'vitest'
import { quote, startScript } from './script.ts'

const BUSYBOX = '/bin/busybox'

/** Runs a script as a launcher does: from standard input, with the program's own input on descriptor 3. */
function run(script: string): { stdout: Buffer; stderr: string; status: number | null } {
  const { stdout, stderr, status } = spawnSync(BUSYBOX, ['sh'], {
    input: script,
    env: {},
    stdio: ['pipe', 'pipe', 'pipe', 'ignore'],
    maxBuffer: 64 * 1024 * 1024,
  })
  return { stdout, stderr: stderr.toString(), status }
}

/** Every string of characters that a schema lets through, hard ones first. */
function hardString(): string {
  const pieces = [
    "'",
    '"',
    '\\',
    '$',
    '`',
    '\n',
    '\r',
    '\t',
    ' ',
    '!',
    '*',
    '~',
    '#',
    ';',
    '&',
    '|',
    '(',
    ')',
    '{',
    '}',
  ]
  pieces.push(
    '$(id)',
    "'\\''",
    '\u0081',
    '\u0088',
    '\u00ff',
    'ÿ',
    '漢',
    '😀',
    '\x01',
    '\x7f',
    '-n',
    '=',
    '%s',
    '\ufeff',
  )
  const bytes = randomBytes(1 + ((randomBytes(1)[0] as number) % 24))
  return [...bytes].map((byte) => (byte < 160 ? pieces[byte % pieces.length] : String.fromCharCode(byte))).join('')
}

test.runIf(existsSync(BUSYBOX))('arguments and variables arrive as they are, whatever is in them', () => {
  for (let round = 0; round < 150; round++) {
    const args = Array.from({ length: 4 }, hardString)
    const env = { A: hardString(), B_1: hardString(), ...(round % 3 === 0 ? { 'odd.name': hardString() } : {}) }
    const path = '/usr/bin/env'
    const argv = ['env', '-0', '/bin/busybox', 'printf', '%s\\0', ...args]
    const program = { path, argv: ['env', '-0'], cwd: '/', env, stdin: false }
    const shown = run(startScript(program, BUSYBOX)).stdout.toString().split('\0').slice(0, -1).sort()
    expect(shown).toEqual(
      Object.entries(env)
        .map(([name, value]) => `${name}=${value}`)
        .sort(),
    )
    const printed = run(
      startScript({ ...program, path: '/usr/bin/printf', argv: ['printf', ...argv.slice(4)] }, BUSYBOX),
    )
    expect(printed.stdout.toString().split('\0').slice(0, -1)).toEqual(args)
  }
})

test.runIf(existsSync(BUSYBOX))('variables that mean something to a shell are passed on unchanged', () => {
  const env = {
    PATH: '/x',
    HOME: '',
    PWD: 'a',
    OLDPWD: 'b',
    SHLVL: '7',
    OPTIND: 'x',
    RANDOM: '1',
    IFS: 'x',
    PS1: '\\u',
    LINENO: 'q',
    TERM: 'v',
    _: 'u',
    PPID: 'z',
  }
  const script = startScript({ path: '/usr/bin/env', argv: ['env', '-0'], cwd: '/tmp', env, stdin: false }, BUSYBOX)
  const shown = run(script).stdout.toString().split('\0').slice(0, -1).sort()
  expect(shown).toEqual(
    Object.entries(env)
      .map(([name, value]) => `${name}=${value}`)
      .sort(),
  )
})

test.runIf(existsSync(BUSYBOX))('argv[0] is the name as it was given', () => {
  const script = startScript({ path: '/bin/ls', argv: ['ls', '/nope'], cwd: '/', env: {}, stdin: false }, BUSYBOX)
  expect(run(script).stderr).toMatch(/^ls: /)
})

test.runIf(existsSync(BUSYBOX))(
  'a script that was cut off anywhere runs nothing',
  () => {
    const argv = ['touch', '/tmp/coppice-cut-script', 'x']
    const script = startScript({ path: '/usr/bin/touch', argv, cwd: '/tmp', env: { A: '1' }, stdin: false }, BUSYBOX)
    for (let length = 0; length < script.length - 2; length++) run(script.slice(0, length))
    expect(existsSync('/tmp/coppice-cut-script')).toBe(false)
  },
  60_000,
)

test('what the kernel would refuse is refused before', () => {
  const argv = ['echo', ...Array.from({ length: 20 }, () => 'x'.repeat(120_000))]
  const start = () => startScript({ path: '/bin/echo', argv, cwd: '/', env: {}, stdin: false }, BUSYBOX)
  expect(start).toThrow(expect.objectContaining({ code: 'invalid_argument', reason: 'arguments_too_long' }))
})

test('a quote in a word is said outside of quotes', () => {
  expect(quote("it's")).toBe("'it'\\''s'")
})
