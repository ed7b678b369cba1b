import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { homeAt } from '@coppice/protocol/home'
import { Progress } from '@coppice/protocol/wire'
import { FileRegistry } from '@coppice/registry'
import type { Check, CheckContext, Finding } from '../check.ts'
import type { GatewayState } from '../gateway-state.ts'
import { type Clock, Sightings } from '../leaks/sightings.ts'
import type { JsonReport } from '../report/json.ts'
import { type CheckReport, detectAll, type Report, repairAll, type Surroundings } from '../runner.ts'

/** A new, empty home that everybody may walk through. It goes with the folder of the test file. */
export function makeHome(): string {
  const folder = mkdtempSync(join(tmpdir(), 'coppice-doctor-test-'))
  const home = join(folder, 'home')
  mkdirSync(home, { mode: 0o711 })
  return home
}

/** Writes a file below a home, with the folders above it. */
export function plant(home: string, path: string, content: string | Buffer, mode = 0o600): string {
  const file = join(home, path)
  mkdirSync(join(file, '..'), { recursive: true, mode: 0o700 })
  writeFileSync(file, content, { mode })
  return file
}

/** The name of a legacy shard or a registry file. */
export function hashed(id: string): string {
  return `${createHash('sha256').update(id).digest('hex')}.json`
}

/** Everything below a folder: what it is, its content, mode and times. Two that are equal mean that nothing was touched. */
export function snapshot(dir: string): Record<string, string> {
  const all: Record<string, string> = {}
  const visit = (path: string): void => {
    const stat = lstatSync(path, { bigint: true })
    const what = stat.isFile()
      ? createHash('sha256').update(readFileSync(path)).digest('hex')
      : stat.isSymbolicLink()
        ? readlinkSync(path)
        : 'other'
    all[path] = `${what} ${stat.mode.toString(8)} ${stat.uid} ${stat.size} ${stat.mtimeNs} ${stat.ctimeNs}`
    if (stat.isDirectory()) for (const name of readdirSync(path).sort()) visit(join(path, name))
  }
  visit(dir)
  return all
}

/** What a registry kind of a home holds, by id. */
export async function registered(home: string, kind: string): Promise<Record<string, unknown>> {
  const { entries } = await (await FileRegistry.open(join(home, 'registry'))).kind(kind).list()
  return Object.fromEntries(entries.map(({ id, value }) => [id, value]))
}

/** Things in quarantine, without the time in their names: contents and the reasons in their notes. */
export function quarantined(home: string, kind: string): { name: string; content: string; reason: string }[] {
  const folder = join(home, 'quarantine', kind)
  let names: string[]
  try {
    names = readdirSync(folder)
  } catch {
    return []
  }
  return names
    .filter((name) => !name.endsWith('.note.json'))
    .sort()
    .map((name) => ({
      name: name.replace(/\.\d{8}T\d{9}Z$/, ''),
      content: lstatSync(join(folder, name)).isFile() ? readFileSync(join(folder, name), 'latin1') : '',
      reason: (JSON.parse(readFileSync(join(folder, `${name}.note.json`), 'utf8')) as { reason: string }).reason,
    }))
}

/** What checks get, for a home without a gateway unless told otherwise. */
export function surroundings(
  home: string,
  more: { gateway?: GatewayState; env?: NodeJS.ProcessEnv; clock?: Clock } = {},
): Surroundings {
  return {
    home: homeAt(home),
    env: more.env ?? {},
    gateway: Promise.resolve(more.gateway ?? { kind: 'none' as const }),
    sightings: new Sightings(more.clock),
  }
}

/** One check's context, for calling `detect` directly. */
export function contextOf(home: string, more: { gateway?: GatewayState; env?: NodeJS.ProcessEnv } = {}): CheckContext {
  return { ...surroundings(home, more), progress: Progress.none(), note: () => undefined }
}

/** Findings of one check. */
export async function detect(check: Check, home: string, more = {}): Promise<Finding[]> {
  return check.detect(contextOf(home, more))
}

/** Runs checks and repairs what they find. */
export async function repair(
  checks: readonly Check[],
  home: string,
  more: { yes?: boolean; dryRun?: boolean } = {},
): Promise<Report> {
  const around = surroundings(home)
  const before: CheckReport[] = await detectAll(checks, around)
  return repairAll(checks, before, around, {
    dryRun: more.dryRun ?? false,
    consent: async () => more.yes ?? false,
    exclusive: true,
  })
}

const MAIN = join(import.meta.dirname, '../main.ts')

/** How a doctor of its own process ended. */
export interface DoctorRun {
  code: number | null
  stdout: string
  stderr: string
  /** Of `--json`. */
  report: JsonReport
}

export interface DoctorRunOptions {
  env?: NodeJS.ProcessEnv
  /** Programs and arguments before the doctor's: `setpriv …`. */
  before?: string[]
  /** SIGKILL when this is aborted. */
  signal?: AbortSignal
}

/** Runs the doctor as people do, with `--json`. */
export function doctor(home: string, args: readonly string[], options: DoctorRunOptions = {}): Promise<DoctorRun> {
  const words = [...(options.before ?? []), process.execPath, MAIN, '--home', home, '--json', ...args]
  const [program = '', ...rest] = words
  const { COPPICE_URL: _url, COPPICE_TOKEN: _token, COPPICE_HOME: _home, ...env } = process.env
  const child = spawn(program, rest, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...env, ...options.env },
    ...(options.signal ? { signal: options.signal, killSignal: 'SIGKILL' } : {}),
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk) => {
    stdout += chunk
  })
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  return new Promise((resolve, reject) => {
    child.once('error', (error) => (error.name === 'AbortError' ? undefined : reject(error)))
    child.once('close', (code) => {
      let report = { schemaVersion: 1, ok: false, checksRun: 0, findings: [] } as JsonReport
      try {
        report = JSON.parse(stdout) as JsonReport
      } catch {}
      resolve({ code, stdout, stderr, report })
    })
  })
}
