import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import { runCommand } from '../../host/command.ts'

/** A group folder and everything under it, deepest first. Empty when there is none. */
export function groupsUnder(path: string): string[] {
  const groups: string[] = []
  for (const name of childrenOf(path)) groups.push(...groupsUnder(`${path}/${name}`))
  return existsSync(path) ? [...groups, path] : groups
}

/** Names of a group's sub-groups. */
export function childrenOf(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
  } catch {
    return []
  }
}

/** Whitespace-separated numbers of a control file, or undefined when it is not there. */
export function readNumbers(path: string): number[] | undefined {
  const text = readText(path)
  return text?.split(/\s+/).filter(Boolean).map(Number)
}

/** A control file's text, or undefined when it is not there. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

/** A single number, or null when the file is absent or says `max`. */
export function readNumber(path: string): number | null {
  const text = readText(path)?.trim()
  return text === undefined || !/^\d+$/.test(text) ? null : Number(text)
}

/** The value of one `key value` line, or null. */
export function readKey(path: string, key: string): number | null {
  const line = readText(path)
    ?.split('\n')
    .find((candidate) => candidate.startsWith(`${key} `))
  return line === undefined ? null : Number(line.slice(key.length + 1))
}

/** Makes a group and its parents. Another home may be removing an empty common parent at the same moment: that is tried again. */
export function makeGroup(path: string): void {
  for (let attempt = 0; ; attempt++) {
    try {
      mkdirSync(path, { recursive: true, mode: 0o755 })
      return
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT' || attempt >= 20) throw cause
    }
  }
}

/** Removes a group and everything under it. The kernel refuses for a moment after the last process has gone. */
export async function removeGroup(path: string): Promise<void> {
  const deadline = performance.now() + REMOVE_TIMEOUT_MS
  for (let attempt = 0; ; attempt++) {
    const busy = groupsUnder(path).filter((group) => !tryRemove(group))
    if (busy.length === 0) return
    // A sandbox can nest groups deeper than a path may be long; find walks by relative steps.
    if (attempt === DEEP_AFTER_ATTEMPTS) await runCommand('find', [path, '-depth', '-type', 'd', '-delete'])
    if (performance.now() > deadline) {
      throw new CoppiceError('unavailable', 'cgroup_busy', `The cgroup ${path} cannot be removed: it is in use.`, {
        facts: { path, processes: readNumbers(`${path}/cgroup.procs`) ?? [] },
        hint: `cat ${path}/cgroup.procs`,
      })
    }
    await sleep(2)
  }
}

const REMOVE_TIMEOUT_MS = 10_000
const DEEP_AFTER_ATTEMPTS = 50

function tryRemove(group: string): boolean {
  try {
    rmdirSync(group)
    return true
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'ENOENT'
  }
}

/** Removes a home's group and the group above it when they hold nothing. */
export function pruneParents(home: string): void {
  if (tryRemove(home)) tryRemove(dirname(home))
}

/** Sends SIGKILL to everything that `list` returns until it returns nothing. */
export async function killAll(list: () => number[], describe: string): Promise<void> {
  const deadline = performance.now() + REMOVE_TIMEOUT_MS
  for (let pids = list(); pids.length > 0; pids = list()) {
    for (const pid of pids) {
      try {
        // 0 is a process that this PID namespace cannot see: kill(0) would be ourselves.
        if (pid > 0) process.kill(pid, 'SIGKILL')
      } catch {}
    }
    if (performance.now() > deadline) {
      throw new CoppiceError(
        'unavailable',
        'processes_do_not_die',
        `Processes in ${describe} do not end after SIGKILL.`,
        {
          facts: { pids: pids.slice(0, 20) },
          hint: `cat /proc/${pids[0]}/stack`,
        },
      )
    }
    await sleep(2)
  }
}

/** Writes to a control file where the kernel has it and takes the value. */
export function writeIfThere(path: string, text: string): void {
  try {
    writeFileSync(path, text)
  } catch {}
}
