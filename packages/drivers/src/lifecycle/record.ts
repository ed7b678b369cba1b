import { randomBytes } from 'node:crypto'
import { open, readFile, rename } from 'node:fs/promises'
import type { EndRecord, Limits, ResourceUse } from '@coppice/protocol/wire'
import type { ProcessIdentity } from '../host/process.ts'

/** How one run of a sandbox ended. */
export type SandboxEnd = Pick<EndRecord, 'reason' | 'message' | 'exitCode' | 'at'>

/** What a driver writes down about one sandbox, in its folder. Enough to adopt it, to say how it ended, and to clean up. */
export interface SandboxRecord {
  schema: 1
  id: string
  /**
   * launching: what is being made may be half-made. running: `init` was alive. ending: `end` is known, what the run held may
   * not be given back yet. stopped: only files are left.
   */
  phase: 'launching' | 'running' | 'ending' | 'stopped'
  /** True once a launch has succeeded: only then are the files whole. */
  complete: boolean
  bootId: string
  /** Who launches, while that lasts. When it is gone in the phase `launching`, the launch was cut off. */
  launcher: ProcessIdentity
  init: ProcessIdentity | null
  /** Set before the init is told to end, so that a driver that comes later knows who ended it. */
  asked: 'stop' | 'remove' | null
  end: SandboxEnd | null
  /** At the end of the latest run. */
  use: ResourceUse | null
  /** At its latest start. */
  limits: Limits
  runtimeDir: string
  runDir: string
  labels: Record<string, string>
}

/** The record, or undefined when there is none that can be read: a creation that was cut off. */
export async function readRecord(path: string): Promise<SandboxRecord | undefined> {
  try {
    const record = JSON.parse(await readFile(path, 'utf8')) as SandboxRecord
    return record.schema === 1 ? record : undefined
  } catch {
    return undefined
  }
}

/**
 * Atomic, and on disk when it returns. Not so in the phase `launching`: losing that record to a power cut loses a launch that is
 * gone as well, and a busy disk would make every launch wait for it.
 */
export async function writeRecord(path: string, record: SandboxRecord): Promise<void> {
  // Of its own: two objects over one folder may write at the same moment.
  const temporary = `${path}.${randomBytes(4).toString('hex')}.new`
  {
    await using file = await open(temporary, 'w', 0o600)
    await file.writeFile(JSON.stringify(record))
    if (record.phase !== 'launching' || record.complete) await file.datasync()
  }
  await rename(temporary, path)
}
