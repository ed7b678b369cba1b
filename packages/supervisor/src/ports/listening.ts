import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ListeningPort } from '@coppice/protocol/wire'

/**
 * Bytes of the kernel's list that are read: listening sockets come first in it, 150 bytes each, and connections, of which there
 * can be any number, behind them.
 */
const MAX_LIST_BYTES = 256 * 1024

/** Sockets that are told of. */
const MAX_LISTENING = 512

/** Milliseconds of looking for the processes of sockets, after which the rest stays without; and between two turns. */
const SEARCH_MS = 250
const TURN_MS = 5

const LISTEN = '0A'

interface Listening extends ListeningPort {
  readonly inode: string
}

/** What listens in this network namespace, by port, without `own`. */
export async function listeningPorts(own: ReadonlySet<number>): Promise<ListeningPort[]> {
  const lists = await Promise.all(['/proc/self/net/tcp', '/proc/self/net/tcp6'].map(readStart))
  const found = lists
    .flatMap(parseListening)
    .filter(({ port }) => !own.has(port))
    .sort((a, b) => a.port - b.port || (a.address < b.address ? -1 : 1))
    .slice(0, MAX_LISTENING)
  const processes = await processesOf(new Set(found.map(({ inode }) => inode)))
  return found.map(({ inode, ...listening }) => ({ ...listening, process: processes.get(inode) ?? null }))
}

/** The listening sockets of a list as `/proc/net/tcp` and `tcp6` have it. Lines that are none are passed over. */
export function parseListening(list: string): Listening[] {
  return list.split('\n').flatMap((line) => {
    const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/)
    const [address = '', port = ''] = local.split(':')
    if (state !== LISTEN || !/^([0-9A-F]{8}|[0-9A-F]{32})$/.test(address)) return []
    return [{ port: Number.parseInt(port, 16), address: toAddress(address), process: null, inode }]
  })
}

/** Words of 32 bits in the byte order of the machine, which is little-endian wherever the runtime bundle runs. */
function toAddress(hex: string): string {
  const bytes = Buffer.from(hex, 'hex')
  bytes.swap32()
  if (bytes.length === 4) return bytes.join('.')
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16))
  return new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1)
}

async function readStart(path: string): Promise<string> {
  try {
    await using file = await open(path)
    const bytes = Buffer.alloc(MAX_LIST_BYTES)
    let length = 0
    for (;;) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length)
      length += bytesRead
      if (bytesRead === 0 || length === bytes.length) return bytes.toString('latin1', 0, length)
    }
  } catch {
    // No IPv6, or no such list at all.
    return ''
  }
}

/** Which program has which socket, as far as it can be seen and found in time. */
async function processesOf(inodes: Set<string>): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  const began = performance.now()
  let turnBegan = began
  for (const pid of readdirSync('/proc')) {
    if (found.size === inodes.size) break
    if (!/^\d+$/.test(pid)) continue
    for (const target of descriptors(pid)) {
      const [, inode] = /^socket:\[(\d+)\]$/.exec(target) ?? []
      if (inode !== undefined && inodes.has(inode) && !found.has(inode)) found.set(inode, nameOf(pid))
    }
    const now = performance.now()
    if (now - began > SEARCH_MS) break
    if (now - turnBegan > TURN_MS) {
      await nextTurn()
      turnBegan = performance.now()
    }
  }
  return found
}

function* descriptors(pid: string): Generator<string> {
  const folder = `/proc/${pid}/fd`
  let names: string[]
  try {
    names = readdirSync(folder)
  } catch {
    // Gone, or another's.
    return
  }
  for (const name of names) {
    try {
      yield readlinkSync(`${folder}/${name}`)
    } catch {
      // Closed meanwhile.
    }
  }
}

function nameOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim().replace(/\p{C}/gu, '?')
  } catch {
    return '?'
  }
}
