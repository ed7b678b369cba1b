import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { readHomeFile } from '@coppice/protocol/home-file'
import { CoppiceError } from '@coppice/protocol/wire'

/** Where a gateway is and the token that opens it. */
export interface GatewayAddress {
  /** `http://127.0.0.1:PORT` for a local gateway, without a slash at the end. */
  url: string
  token: string
  /** Process id of a local gateway that was found through its home; undefined for one that was named by its URL. */
  pid: number | undefined
}

/** `gateway.json`: what a running gateway says about itself in its home. */
export interface GatewayRecord {
  pid: number
  url: string
  version: string
  home: string
  startedAt: number
}

export interface DiscoveryOptions {
  /** URL of a gateway. Default: `COPPICE_URL`. Given, nothing on this machine's disk is looked at. */
  url?: string | undefined
  /** Token for it. Default: `COPPICE_TOKEN`, else the token file of the home. */
  token?: string | undefined
  /** State folder of a local gateway. Default: `COPPICE_HOME`, else `defaultHome()`. */
  home?: string | undefined
}

/** The state folder where none is named: `/var/lib/coppice` as root, else `$XDG_DATA_HOME/coppice`. */
export function defaultHome(): string {
  if (process.env.COPPICE_HOME) return resolve(process.env.COPPICE_HOME)
  if (process.getuid?.() === 0) return '/var/lib/coppice'
  return join(process.env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'coppice')
}

/**
 * The record of a home's gateway, or undefined when there is none or its process is gone.
 * @throws `failed_precondition/state_not_a_file`, `permission_denied/state_unreadable`
 */
export function runningGateway(home: string): GatewayRecord | undefined {
  const text = readHomeFile(join(home, 'gateway.json'))
  if (text === undefined) return undefined
  let record: Partial<GatewayRecord>
  try {
    record = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof record?.url !== 'string' || typeof record.pid !== 'number') return undefined
  return isAlive(record.pid) ? (record as GatewayRecord) : undefined
}

/**
 * Finds the gateway to talk to.
 *
 * @throws `unavailable/gateway_not_running` when a home has no running gateway, `permission_denied/state_unreadable` when it
 * has one that this user may not use, `failed_precondition/state_not_a_file` when something else stands in the place of a file
 * of it, `unauthenticated/token_missing` when a URL was given without a token.
 */
export function findGateway(options: DiscoveryOptions = {}): GatewayAddress {
  const url = options.url ?? process.env.COPPICE_URL
  if (url) {
    const token = options.token ?? process.env.COPPICE_TOKEN
    if (!token) {
      throw new CoppiceError('unauthenticated', 'token_missing', `No token is known for the gateway at ${url}.`, {
        hint: 'Set COPPICE_TOKEN to what the file "token" in the home of that gateway holds.',
      })
    }
    return { url: url.replace(/\/+$/, ''), token, pid: undefined }
  }
  const home = options.home ?? defaultHome()
  const record = runningGateway(home)
  const token = record && (options.token ?? readHomeFile(join(home, 'token'))?.trim())
  if (!record || !token) throw gatewayNotRunning(home)
  return { url: record.url, token, pid: record.pid }
}

/** No gateway runs for `home`. */
export function gatewayNotRunning(home: string, cause?: unknown): CoppiceError {
  return new CoppiceError('unavailable', 'gateway_not_running', `No gateway is running for ${home}.`, {
    facts: { home },
    hint: 'coppice gateway start',
    cause,
  })
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
