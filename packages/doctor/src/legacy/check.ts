import { basename } from 'node:path'
import type { Check, Finding } from '../check.ts'
import { finding } from '../check.ts'
import { quoted } from '../faults.ts'
import { type LegacyContents, readLegacy } from './contents.ts'
import { findLocks, type UserOf, usersOf } from './locks.ts'
import { migrateKind } from './migrate.ts'
import type { LegacyKind } from './names.ts'

/** Bad entries of one kind that are told one by one. */
const MAX_TOLD = 200

/** Entries of the legacy registry that are still where it had them. */
export function legacyCheck(kind: LegacyKind): Check {
  return {
    id: `legacy/${kind}`,
    limitMs: 60_000,
    async detect({ home }) {
      const contents = await readLegacy(home.dir, kind)
      return describe(contents, kind, usersOf(await findLocks(home.dir)))
    },
    async repair({ home, effects }) {
      const contents = await readLegacy(home.dir, kind)
      const userOf = usersOf(await findLocks(home.dir))
      await migrateKind({ home, kind, contents, effects, userOf })
      return effects.outcome
    },
  }
}

function describe(contents: LegacyContents, kind: LegacyKind, userOf: UserOf): Finding[] {
  const { shards, monolith, folder, folderEmpty, unreadable } = contents
  const findings = unreadable.map(({ path, error }) =>
    finding(
      'unverified',
      `${path} of the legacy registry could not be read: ${error.message}`,
      error.hint ?? look(path),
      {
        path,
      },
    ),
  )
  if (folder !== undefined && (shards.length > 0 || folderEmpty)) {
    const good = shards.filter(({ problem }) => problem === undefined).length
    const message = `${good} entries of the legacy registry (kind ${kind}) lie in ${folder}, where nothing reads them.`
    if (shards.length > 0) findings.push(pending(message, folder, userOf))
    else findings.push(pending(`The folder ${folder} of the legacy registry is left over.`, folder, userOf))
  }
  if (monolith) {
    const { path, rows, keepWhole } = monolith
    const good = rows.filter(({ problem }) => problem === undefined).length
    findings.push(
      pending(
        `${good} entries of the legacy registry (kind ${kind}) lie in ${path}, where nothing reads them.`,
        path,
        userOf,
      ),
    )
    if (keepWhole !== undefined) {
      findings.push(pending(`${path} is not as it should be and is to be kept as a whole. ${keepWhole}`, path, userOf))
    }
  }
  const bad = [
    ...shards.filter((shard) => shard.problem !== undefined).map(({ path, problem }) => badOne(path, path, problem)),
    ...(monolith?.rows ?? [])
      .filter((row) => row.problem !== undefined)
      .map(({ index, problem }) => badOne(`Row ${index} of ${monolith?.path}`, monolith?.path ?? '', problem)),
  ]
  findings.push(...bad.slice(0, MAX_TOLD))
  const more = bad.length - MAX_TOLD
  const last = bad[0]
  if (more > 0 && last) findings.push({ ...last, message: `${more} more entries of the legacy registry are bad.` })
  return findings
}

function pending(message: string, path: string, userOf: UserOf): Finding {
  const user = userOf(path)
  if (user?.owner.state !== 'alive') return finding('warning', message, look(path), { path, fixable: true })
  const { pid } = user.owner
  const busy = `${message} Process ${pid} has locked them (${basename(user.path)}), so they stay until it ends.`
  return finding('warning', busy, `ps -fp ${pid}`, { path, fixable: true })
}

function badOne(what: string, path: string, problem: string | undefined): Finding {
  return finding('error', `${what} is no usable entry of the legacy registry. ${problem}`, look(path), {
    path,
    fixable: true,
  })
}

function look(path: string): string {
  return path.endsWith('.json') ? `cat ${quoted(path)}` : `ls -la ${quoted(path)}`
}
