import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { StoreFixture } from './contract.ts'

/** A process that updates a tally. */
export interface Writer {
  name: string
  child: ChildProcess
  /** The first acknowledged update. */
  first: Promise<unknown>
  /** How many updates were acknowledged to it until its end. */
  ended: Promise<number>
}

export function startWriter(fixture: StoreFixture, name: string, count: number): Writer {
  const script = new URL('./contract-writer.ts', import.meta.url).pathname
  const args = [script, fixture.module.href, fixture.place, 'tallies', 't', name, String(count)]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let acknowledged = 0
  const first = Promise.withResolvers<void>()
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (line === 'ready') return
    acknowledged = Number(line)
    first.resolve()
  })
  const ended = once(child, 'close').then(() => {
    first.reject(new Error(`writer ${name} ended before its first update`))
    return acknowledged
  })
  first.promise.catch(() => undefined)
  return { name, child, first: first.promise, ended }
}
