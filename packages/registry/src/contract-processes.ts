import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setImmediate } from 'node:timers/promises'
import type { StoreFixture } from './contract.ts'

/** A process that changes entries and counts what was acknowledged to it. */
export interface Writer {
  name: string
  child: ChildProcess
  /** It has opened the registry and waits to begin. */
  ready: Promise<unknown>
  /** Lets it begin. */
  go(): void
  /** The first acknowledged change. */
  first: Promise<unknown>
  /** The next acknowledged change. */
  next(): Promise<unknown>
  /** The last count that it said before its end (-1: none), and whether it ended because the entry was gone. */
  ended: Promise<{ acknowledged: number; gone: boolean }>
}

/** See contract-writer.ts. */
export function startWriter(fixture: StoreFixture, name: string, count: number, id = 't'): Writer {
  return start(fixture, name, './contract-writer.ts', ['tallies', id, name, String(count)])
}

/** See contract-cycler.ts. It begins by itself. */
export function startCycler(fixture: StoreFixture, kind: string, id: string, first: number): Writer {
  return start(fixture, id, './contract-cycler.ts', [kind, id, String(first)])
}

function start(fixture: StoreFixture, name: string, script: string, rest: string[]): Writer {
  const args = [new URL(script, import.meta.url).pathname, fixture.module.href, fixture.place, ...rest]
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  let acknowledged = -1
  let gone = false
  const ready = Promise.withResolvers<void>()
  let first = Promise.withResolvers<void>()
  const begun = first.promise
  child.stdin.on('error', () => undefined)
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (line === 'ready') return ready.resolve()
    if (line === 'gone') gone = true
    else acknowledged = Number(line)
    first.resolve()
  })
  const ended = once(child, 'close').then(() => {
    for (const waiting of [ready, first]) waiting.reject(new Error(`writer ${name} has ended`))
    return { acknowledged, gone }
  })
  for (const promise of [ready.promise, begun]) promise.catch(() => undefined)
  return {
    name,
    child,
    ready: ready.promise,
    go: () => child.stdin.write('go\n'),
    first: begun,
    next: () => {
      first = Promise.withResolvers<void>()
      return first.promise
    },
    ended,
  }
}

/** Stops a process where it is and returns when it stands. */
export async function freeze(child: ChildProcess): Promise<void> {
  child.kill('SIGSTOP')
  while (!/^\d+ \(.*\) T/.test(readFileSync(`/proc/${child.pid}/stat`, 'utf8'))) await setImmediate()
}
