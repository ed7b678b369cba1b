import { readFileSync, statSync } from 'node:fs'
import { CoppiceError } from '@coppice/protocol/wire'

/** Who a program runs as. */
export interface Identity {
  readonly uid: number
  readonly gid: number
  /** Supplementary groups, the primary one not repeated. */
  readonly groups: readonly number[]
  /** Home folder of the account, or `/` for a uid without one. */
  readonly home: string
}

/** `/etc/passwd` and `/etc/group` of the sandbox are what its user made them: no more than this is read. */
const MAX_FILE_BYTES = 4 * 1024 * 1024

/**
 * Finds out who `spec` is: a user name or uid, optionally `:` and a group name or gid; empty is root. A uid that has no
 * account runs with gid 0 and no further groups; an explicit group replaces the account's supplementary groups, as
 * container engines do it. Throws `not_found/user_not_found` and `not_found/group_not_found`.
 */
export function resolveIdentity(spec: string, etc = '/etc'): Identity {
  const colon = spec.indexOf(':')
  const user = (colon < 0 ? spec : spec.slice(0, colon)) || '0'
  const groupSpec = colon < 0 ? '' : spec.slice(colon + 1)
  const account = findAccount(user, etc)
  const groups = readTable(`${etc}/group`)
  if (groupSpec) return { ...account, gid: findGroup(groupSpec, groups), groups: [] }
  const memberOf = account.name === undefined ? [] : groupsOf(account.name, groups)
  const { uid, gid, home } = account
  return { uid, gid, home, groups: memberOf.filter((id) => id !== gid) }
}

/** True when a process of `own` needs no change to run as `other`. */
export function sameIdentity(own: Identity, other: Identity): boolean {
  return own.uid === other.uid && own.gid === other.gid && own.groups.join() === other.groups.join()
}

interface Account {
  name?: string
  uid: number
  gid: number
  home: string
}

function findAccount(user: string, etc: string): Account {
  const rows = readTable(`${etc}/passwd`)
  const uid = parseId(user)
  const row =
    rows.find((fields) => fields[0] === user) ?? rows.find((fields) => uid !== undefined && parseId(fields[2]) === uid)
  const rowUid = parseId(row?.[2])
  const rowGid = parseId(row?.[3])
  if (row?.[0] !== undefined && rowUid !== undefined && rowGid !== undefined) {
    return { name: row[0], uid: rowUid, gid: rowGid, home: row[5] || '/' }
  }
  if (uid !== undefined) return { uid, gid: 0, home: uid === 0 ? '/root' : '/' }
  if (user === 'root') return { uid: 0, gid: 0, home: '/root' }
  throw new CoppiceError('not_found', 'user_not_found', `There is no user ${JSON.stringify(user)} in the sandbox.`, {
    facts: { user },
    hint: 'Give a name that is in /etc/passwd, or a numeric uid.',
  })
}

function findGroup(group: string, rows: readonly string[][]): number {
  const id = parseId(rows.find((fields) => fields[0] === group)?.[2]) ?? parseId(group)
  if (id !== undefined) return id
  throw new CoppiceError('not_found', 'group_not_found', `There is no group ${JSON.stringify(group)} in the sandbox.`, {
    facts: { group },
    hint: 'Give a name that is in /etc/group, or a numeric gid.',
  })
}

function groupsOf(user: string, rows: readonly string[][]): number[] {
  const ids = rows.filter((fields) => fields[3]?.split(',').includes(user)).map((fields) => parseId(fields[2]))
  return [...new Set(ids.filter((id) => id !== undefined))].sort((a, b) => a - b)
}

function parseId(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined
  const id = Number.parseInt(text, 10)
  // The last value means "unchanged" to the kernel.
  return id < 0xffff_ffff ? id : undefined
}

const tables = new Map<string, { stamp: string; rows: string[][] }>()

/** Lines of `:`-separated fields; empty when the file is not there. Read again only when the file has changed. */
function readTable(path: string): string[][] {
  const stat = statSync(path, { throwIfNoEntry: false, bigint: true })
  if (!stat?.isFile() || stat.size > MAX_FILE_BYTES) return []
  const stamp = `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeNs} ${stat.ctimeNs}`
  const known = tables.get(path)
  if (known?.stamp === stamp) return known.rows
  const lines = readFileSync(path, 'utf8').split('\n')
  const rows = lines.filter((line) => line !== '' && !line.startsWith('#')).map((line) => line.split(':'))
  tables.set(path, { stamp, rows })
  return rows
}
