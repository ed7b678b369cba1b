import { readdirSync } from 'node:fs'
import { type ProcessIdentity, processStat } from './process.ts'

/** The processes given and all their descendants, parents first, as they are now. Reads all of `/proc`: a few ms. */
export function processTree(roots: ProcessIdentity[]): ProcessIdentity[] {
  const children = new Map<number, ProcessIdentity[]>()
  for (const name of readdirSync('/proc')) {
    const stat = /^\d+$/.test(name) ? processStat(Number(name)) : undefined
    if (!stat) continue
    const siblings = children.get(stat.parent) ?? []
    siblings.push({ pid: stat.pid, startTicks: stat.startTicks })
    children.set(stat.parent, siblings)
  }
  const found = new Map<number, ProcessIdentity>()
  const add = (process: ProcessIdentity): void => {
    if (found.has(process.pid)) return
    found.set(process.pid, process)
    for (const child of children.get(process.pid) ?? []) add(child)
  }
  for (const root of roots) add(root)
  return [...found.values()]
}
