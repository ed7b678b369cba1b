import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ADDRESSES } from './addresses.ts'

/** The host's end of the cable. There is one such name on a host, so whoever makes it has the addresses to himself. */
const CABLE = 'coppice-inet'
/** How long another test's internet is waited for, milliseconds. */
const WAIT_MS = 300_000
const PREFIX = 'coppice-test-'

/** Ranges that are reached through the cable. The first four addresses of the public one are the cable's own. */
const ROUTED = ['198.51.100.0/24', '10.199.0.0/24']
const ROUTED6 = ['2001:db8:c0:1::/64', 'fd00:c0de:1::/64']
const PUBLIC = [...['198.51.100.4/30', '198.51.100.8/29', '198.51.100.16/28', '198.51.100.32/27'], '198.51.100.64/26']
const LOCAL = [...PUBLIC, '198.51.100.128/25', '10.199.0.0/24', `${ADDRESSES.metadata}/32`]

/** A network namespace behind a cable to the host, which owns all addresses that are routed to it. */
export class Network {
  /** Path to enter it by. */
  readonly path: string
  /** A folder for whatever goes with it, removed with it. */
  readonly folder: string
  readonly #name: string

  private constructor(name: string) {
    this.#name = name
    this.path = `/run/netns/${name}`
    this.folder = folderOf(name)
    mkdirSync(this.folder, { mode: 0o700 })
  }

  /** Throws when this user may not, or when another test has the addresses for more than five minutes. */
  static async make(): Promise<Network> {
    sweep()
    const name = `${PREFIX}${process.pid}-${startTicks(process.pid)}`
    ip('netns', 'add', name)
    const network = new Network(name)
    try {
      await network.#connect()
      return network
    } catch (error) {
      network.remove()
      throw error
    }
  }

  /** Leads the metadata address of clouds to this network, where the host has no route of its own for it. */
  claimMetadata(): void {
    ip('route', 'add', ADDRESSES.metadata, 'via', '198.51.100.2', 'dev', CABLE)
  }

  /** With the namespace goes the cable, with the cable go the host's addresses and routes. */
  remove(): void {
    removeNamespace(this.#name)
  }

  async #connect(): Promise<void> {
    const end = performance.now() + WAIT_MS
    while (!tryIp('link', 'add', CABLE, 'type', 'veth', 'peer', 'name', 'cable', 'netns', this.#name)) {
      if (!existsSync(`/sys/class/net/${CABLE}`) || performance.now() > end) {
        ip('link', 'add', CABLE, 'type', 'veth', 'peer', 'name', 'cable', 'netns', this.#name)
        return
      }
      await delay(100)
      sweep()
    }
    batch([], [`addr add 198.51.100.1/30 dev ${CABLE}`, `link set ${CABLE} up`])
    batch(
      ['-n', this.#name],
      [
        'link set lo up',
        'addr add 198.51.100.2/30 dev cable',
        'link set cable up',
        ...LOCAL.map((range) => `route add local ${range} dev lo`),
        `route add blackhole ${ADDRESSES.blackhole}/32 table local`,
        `route add unreachable ${ADDRESSES.unreachable}/32 table local`,
      ],
    )
    batch(
      [],
      ROUTED.map((range) => `route add ${range} via 198.51.100.2 dev ${CABLE}`),
    )
    if (
      existsSync('/proc/sys/net/ipv6') &&
      !readFileSync('/proc/sys/net/ipv6/conf/all/disable_ipv6', 'utf8').startsWith('1')
    )
      this.#connect6()
  }

  #connect6(): void {
    batch([], [`addr add 2001:db8:c0::1/64 dev ${CABLE} nodad`])
    batch(
      ['-n', this.#name],
      ['addr add 2001:db8:c0::2/64 dev cable nodad', ...ROUTED6.map((range) => `route add local ${range} dev lo`)],
    )
    batch(
      [],
      ROUTED6.map((range) => `route add ${range} via 2001:db8:c0::2 dev ${CABLE}`),
    )
  }
}

/** Removes what killed tests have left. */
function sweep(): void {
  if (!existsSync('/run/netns')) return
  for (const name of readdirSync('/run/netns')) {
    const [, pid, ticks] = new RegExp(`^${PREFIX}(\\d+)-(\\d+)$`).exec(name) ?? []
    if (pid && startTicks(Number(pid)) !== ticks) removeNamespace(name)
  }
}

/** The cable goes at once, whatever processes of a killed test still hold the namespace. */
function removeNamespace(name: string): void {
  rmSync(folderOf(name), { recursive: true, force: true })
  if (!existsSync(`/run/netns/${name}`)) return
  tryIp('-n', name, 'link', 'del', 'cable')
  if (!tryIp('netns', 'del', name)) rmSync(`/run/netns/${name}`, { force: true })
}

function folderOf(name: string): string {
  return join(tmpdir(), name)
}

function startTicks(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

function ip(...argv: string[]): void {
  execFileSync('ip', argv, { stdio: ['ignore', 'ignore', 'pipe'] })
}

function batch(options: string[], lines: string[]): void {
  execFileSync('ip', [...options, '-batch', '-'], { input: `${lines.join('\n')}\n`, stdio: ['pipe', 'ignore', 'pipe'] })
}

function tryIp(...argv: string[]): boolean {
  try {
    ip(...argv)
    return true
  } catch {
    return false
  }
}
