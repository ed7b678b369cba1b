import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, fstatSync, mkdirSync, openSync, readSync } from 'node:fs'
import { constants } from 'node:os'
import { join, resolve } from 'node:path'
import { Coppice, CoppiceError, type GatewayRecord, runningGateway } from '@coppice/sdk'
import { gatewayEntry } from './entry.ts'

/** Exit status of a gateway that found another one holding its home: that one is used. */
const EXIT_ALREADY_RUNNING = 75
/** Adopting a thousand sandboxes takes a while; a gateway that is still silent after this is broken. */
const START_LIMIT_MS = 60_000
const POLL_MS = 15
/** How much of a dead gateway's log is shown, bytes. */
const TAIL_BYTES = 4096

export interface StartOptions {
  home: string
  /** Passed on: `--listen ADDR` and the like. */
  args?: string[]
}

/**
 * A small young generation: what a gateway moves is short-lived and lies outside of the heap. Measured while 1 GiB passes: 14 MiB
 * of growth instead of 68, half the CPU time, and 130 MiB instead of 220 after a hundred creates.
 */
const NODE_FLAGS = ['--max-semi-space-size=1']

/**
 * Makes sure that a gateway runs for a home and answers, in the background, and returns its record. Of several that are
 * started at once one stays, and all callers get that one.
 *
 * @throws `unavailable/gateway_failed` with the end of its log when it died, `deadline_exceeded/gateway_slow`
 */
export async function startGateway(options: StartOptions): Promise<GatewayRecord> {
  const { home, args = [] } = options
  const running = await answering(home)
  if (running) return running
  mkdirSync(join(home, 'logs'), { recursive: true, mode: 0o700 })
  const logPath = join(home, 'logs', 'gateway.log')
  const log = openSync(logPath, 'a', 0o600)
  const logStart = fstatSync(log).size
  const child = spawn(process.execPath, [...NODE_FLAGS, gatewayEntry(), '--home', home, ...args], {
    detached: true,
    stdio: ['ignore', log, log],
    cwd: '/',
    env: gatewayEnvironment(),
  })
  closeSync(log)
  try {
    return await firstAnswer(child, home, () => tail(logPath, logStart))
  } finally {
    child.unref()
  }
}

/** Runs the gateway as a child in the foreground, and returns its exit status, 128+n when signal n killed it. */
export async function runGateway(options: StartOptions): Promise<number> {
  const child = spawn(
    process.execPath,
    [...NODE_FLAGS, gatewayEntry(), '--home', options.home, ...(options.args ?? [])],
    {
      stdio: 'inherit',
      env: gatewayEnvironment(),
    },
  )
  // A terminal sends Ctrl-C to both; others send it to this process alone.
  const pass = (signal: NodeJS.Signals) => child.kill(signal)
  process.on('SIGINT', () => {})
  process.on('SIGTERM', pass)
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)))
  })
}

async function firstAnswer(child: ChildProcess, home: string, logTail: () => string): Promise<GatewayRecord> {
  const end = Date.now() + START_LIMIT_MS
  let wake = () => {}
  child.once('exit', () => wake())
  child.once('error', () => wake())
  for (;;) {
    const running = await answering(home)
    if (running) return running
    const { exitCode, signalCode } = child
    if ((exitCode !== null && exitCode !== EXIT_ALREADY_RUNNING) || signalCode !== null || child.pid === undefined) {
      const log = logTail()
      const { message = `\n${log}`, hint = 'coppice gateway start --foreground' } = lastWords(log) ?? {}
      throw new CoppiceError('unavailable', 'gateway_failed', `The gateway did not start: ${message}`, {
        facts: { home, exitCode, signal: signalCode },
        hint,
      })
    }
    if (Date.now() > end) {
      throw new CoppiceError(
        'deadline_exceeded',
        'gateway_slow',
        `The gateway gave no answer for ${START_LIMIT_MS} ms:\n${logTail()}`,
      )
    }
    await new Promise<void>((resolve) => {
      wake = resolve
      setTimeout(resolve, POLL_MS)
    })
  }
}

/** The record of a home's gateway if it answers. */
async function answering(home: string): Promise<GatewayRecord | undefined> {
  const record = runningGateway(home)
  if (!record) return undefined
  const client = new Coppice({ home, url: record.url, token: 'none', boundMs: 1_000 })
  try {
    await client.health()
    return record
  } catch {
    return undefined
  } finally {
    client.close()
  }
}

/** Why a gateway ended, when the last line of its log says it; else the log is all there is. */
function lastWords(log: string): { message: string; hint?: string } | undefined {
  try {
    const { message, hint } = JSON.parse(log.slice(log.lastIndexOf('\n') + 1)) as Record<string, unknown>
    if (typeof message !== 'string') return undefined
    return typeof hint === 'string' ? { message, hint } : { message }
  } catch {
    return undefined
  }
}

/** A gateway lives longer than the command that started it, and elsewhere: what is meant for that command stays behind. */
function gatewayEnvironment(): NodeJS.ProcessEnv {
  const { COPPICE_URL: _url, COPPICE_TOKEN: _token, NODE_COMPILE_CACHE: _cache, ...env } = process.env
  if (env.COPPICE_SCRATCH_DIR) env.COPPICE_SCRATCH_DIR = resolve(env.COPPICE_SCRATCH_DIR)
  return env
}

function tail(path: string, from: number): string {
  const file = openSync(path, 'r')
  try {
    const start = Math.max(from, fstatSync(file).size - TAIL_BYTES)
    const buffer = Buffer.alloc(TAIL_BYTES)
    return buffer.toString('utf8', 0, readSync(file, buffer, 0, TAIL_BYTES, start)).trimEnd()
  } finally {
    closeSync(file)
  }
}
