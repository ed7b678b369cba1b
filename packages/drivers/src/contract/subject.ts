import { readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestContext } from 'vitest'
import type { Driver, DriverImage, DriverSandbox, SandboxSpec, SavedFiles } from '../driver.ts'

/** What a driver's test must bring so that the driver can be examined. */
export interface Subject {
  /** A new driver object, always over the same folder. The caller closes it. */
  open(): Driver
  /** A sandbox that can be made, with an id of its own. Its image and bundle start an init that keeps a supervisor running. */
  spec(changes?: Partial<SandboxSpec>): SandboxSpec
  /** A spec that cannot be made: something that it needs is missing. */
  brokenSpec(): SandboxSpec
  /** Runs a program in a running sandbox as its root; absent where the driver has no way but the supervisor. */
  inside?: (id: string, argv: string[]) => Promise<{ exitCode: number; output: string }>
  /** The image of `spec` with saved files on top, as a gateway makes it; where the driver saves files. */
  onTop?: (spec: SandboxSpec, saved: SavedFiles) => Promise<DriverImage>
  /** One line for each thing that saving files has left. */
  savingResidue?: () => Promise<string[]>
  /** One line for each thing that this driver holds on the host: folders, mounts, groups, processes. */
  residue(): Promise<string[]>
  /** Removes every sandbox that is left. */
  removeAll(): Promise<void>
  close(): Promise<void>
}

/** Filled before the first test runs. */
export interface Examination {
  subject: Subject | undefined
  unavailable: string
}

/** The subject, or the test is skipped with the reason. */
export function examined(examination: Examination, context: TestContext): Subject {
  if (!examination.subject) context.skip(examination.unavailable)
  return examination.subject as Subject
}

/** Milliseconds within which an end must be noticed: part of the contract. */
const NOTICE_MS = 5000

/** Milliseconds that a slow machine may add to a bound of the contract. */
const ROOM_MS = 5000

/** Milliseconds for what comes at once, on a machine that has other things to do. Nothing is promised by it. */
const PATIENCE_MS = 30_000

/** Looks every 10 ms until the answer is neither undefined nor false. Fails after `timeoutMs`. */
export async function eventually<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  timeoutMs = PATIENCE_MS,
): Promise<T> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const answer = await look()
    if (answer !== undefined && answer !== false) return answer
    if (performance.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`)
    await sleep(10)
  }
}

/**
 * Makes an init the kernel's choice when memory runs out. It alone: what it starts would take that over, so not before it has
 * started what runs beside it.
 */
export async function makeInitFirstVictim(pid: number): Promise<void> {
  await eventually('the child of the init', () => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8') !== '')
  writeFileSync(`/proc/${pid}/oom_score_adj`, '1000')
}

/** Collects what a driver's watch tells. */
export class Ends {
  readonly told: Parameters<Parameters<Driver['watch']>[0]>[0][] = []
  readonly stop: () => void

  constructor(driver: Driver) {
    this.stop = driver.watch((sandbox) => this.told.push(sandbox))
  }

  /** The first end told of a sandbox. */
  of(id: string): Promise<DriverSandbox> {
    const told = () => this.told.find((sandbox) => sandbox.id === id)
    return eventually(`the end of ${id}`, told, NOTICE_MS + ROOM_MS)
  }

  count(id: string): number {
    return this.told.filter((sandbox) => sandbox.id === id).length
  }
}
