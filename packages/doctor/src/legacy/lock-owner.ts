import { hostname } from 'node:os'
import { bootId, findProcess, startMoments } from '../host/process.ts'

/** What a lock file says about who holds it. */
export interface LockClaim {
  pid: number
  /** When that process started, as it was written: ticks, seconds, milliseconds, a date. */
  start?: string | number
  host?: string
  boot?: string
}

/** Whether the owner of a lock still lives. Only `gone` is proven; `unknown` may be anybody. */
export type LockOwner = { state: 'gone' | 'alive'; pid: number } | { state: 'unknown'; why: string }

/** Locks are small. Anything longer is none, bytes. */
export const MAX_LOCK_BYTES = 16 * 1024

const PID_FIELDS = ['pid', 'ownerpid', 'processid', 'process']
const START_FIELDS = ['starttime', 'startticks', 'starttimeticks', 'starttimems', 'pidstarttime', 'processstarttime']
const HOST_FIELDS = ['hostname', 'host']
const BOOT_FIELDS = ['bootid', 'boot']

/** Two clocks of one machine may tell a start this far apart, seconds. */
const TOLERANCE_S = 5

/** Reads a lock: JSON (a number, an object, an object in `owner`), `PID`, `PID START`, `pid: PID`, `PID@HOST`. */
export function parseLock(text: string): LockClaim | undefined {
  const plain = text.trim()
  try {
    const value: unknown = JSON.parse(plain)
    if (typeof value === 'number') return claim({ pid: value })
    if (typeof value === 'string') return parsePlain(value.trim())
    if (typeof value === 'object' && value !== null) return parseFields(value as Record<string, unknown>)
    return undefined
  } catch {
    return parsePlain(plain)
  }
}

/** Finds out about the process that a lock names. */
export function ownerOf(lock: LockClaim | undefined): LockOwner {
  if (!lock) return { state: 'unknown', why: 'it does not say whose it is' }
  const { pid } = lock
  if (lock.host !== undefined && lock.host !== hostname()) {
    return { state: 'unknown', why: `it was made on another host, ${lock.host}` }
  }
  if (lock.boot !== undefined && lock.boot !== bootId()) return { state: 'gone', pid }
  const found = findProcess(pid)
  if (!found) return { state: 'gone', pid }
  if (lock.start === undefined) return { state: 'alive', pid }
  if (found.startTicks === undefined) return { state: 'unknown', why: `when process ${pid} started cannot be seen` }
  const matches = startMatches(lock.start, found.startTicks)
  if (matches === undefined) return { state: 'unknown', why: `its start time "${lock.start}" cannot be read` }
  return { state: matches ? 'alive' : 'gone', pid }
}

/** True when a start time means that moment in any of the usual notations: only what matches none is another process. */
function startMatches(start: string | number, ticks: number): boolean | undefined {
  const moments = startMoments(ticks)
  const number = typeof start === 'number' ? start : start.trim() === '' ? Number.NaN : Number(start)
  if (!Number.isNaN(number)) {
    const near = (seconds: number, moment: number) => Math.abs(seconds - moment) <= TOLERANCE_S
    return (
      number === moments.ticks ||
      (!Number.isInteger(number) && near(number, moments.afterBoot)) ||
      near(number, moments.unix) ||
      near(number / 1000, moments.unix)
    )
  }
  const date = Date.parse(String(start))
  return Number.isNaN(date) ? undefined : Math.abs(date / 1000 - moments.unix) <= TOLERANCE_S
}

function parseFields(value: Record<string, unknown>): LockClaim | undefined {
  const fields = new Map<string, unknown>()
  for (const [name, field] of Object.entries(value)) fields.set(name.toLowerCase().replace(/[-_]/g, ''), field)
  const first = (names: readonly string[]) => names.map((name) => fields.get(name)).find((field) => field != null)
  const pid = first(PID_FIELDS)
  const owner = fields.get('owner')
  if (typeof pid === 'object' && pid !== null) return parseFields(pid as Record<string, unknown>)
  if (pid === undefined && typeof owner === 'object' && owner !== null) {
    return parseFields(owner as Record<string, unknown>)
  }
  return claim({ pid, start: first(START_FIELDS), host: first(HOST_FIELDS), boot: first(BOOT_FIELDS) })
}

function parsePlain(text: string): LockClaim | undefined {
  const [, pid, host, start] = /^(?:pid\s*[:=]?\s*)?(\d{1,10})(?:@(\S+))?(?:[\s,:]+(\S.*))?$/i.exec(text) ?? []
  return claim({ pid, host, start: start?.replace(/^start\w*\s*[:=]\s*/i, '') })
}

/** Undefined when there is no process id in it. */
function claim(raw: { pid: unknown; start?: unknown; host?: unknown; boot?: unknown }): LockClaim | undefined {
  const pid = typeof raw.pid === 'string' && /^\d+$/.test(raw.pid) ? Number(raw.pid) : raw.pid
  // 0 is a group and 2^22 the kernel's limit: neither is anybody's process.
  if (typeof pid !== 'number' || !Number.isInteger(pid) || pid < 1 || pid > 4_194_304) return undefined
  const result: LockClaim = { pid }
  if (typeof raw.start === 'string' || typeof raw.start === 'number') result.start = raw.start
  if (typeof raw.host === 'string') result.host = raw.host
  if (typeof raw.boot === 'string') result.boot = raw.boot
  return result
}
