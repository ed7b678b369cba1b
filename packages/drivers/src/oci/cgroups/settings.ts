import { existsSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { runCommand } from '../../host/command.ts'
import { limitsRefused } from '../../lifecycle/refusal.ts'
import { readText, writeIfThere } from './tree.ts'

/**
 * Milliseconds that the kernel has to take memory away from a group. It looks for pages as long as it finds some, and a program
 * that reads files without end always has some.
 */
const GIVE_UP_MS = 10_000

/** A control file and what it shall say. */
export interface Setting {
  path: string
  value: string
}

/** Settings that were written, with what the files said before. */
export class Settings {
  readonly #id: string
  readonly #before: Setting[] = []

  /** `id`: whose they are, for errors. */
  constructor(id: string) {
    this.#id = id
  }

  /** For files whose kernel side is done at once. Throws `failed_precondition/limits_refused` with the kernel's words. */
  write({ path, value }: Setting): void {
    this.#remember(path)
    try {
      writeFileSync(path, value)
    } catch (cause) {
      throw limitsRefused(this.#id, `${(cause as Error).message}.`, { facts: { path, value }, cause })
    }
  }

  /**
   * For files that the kernel takes time for: by a program, which can be killed. Cgroup v1 has changed nothing then; v2 sets the value
   * first and reclaims afterwards, so `undo` is needed. False when the kernel has refused, or has not come to an end in time.
   */
  async writeSlowly({ path, value }: Setting, progress: Progress): Promise<boolean> {
    this.#remember(path)
    return writeSlowly(path, value, progress)
  }

  /** Writes back what the files said, last first. A group that is gone has no limits. */
  undo(): void {
    for (const { path, value } of this.#before.reverse()) writeIfThere(path, value)
    this.#before.length = 0
  }

  #remember(path: string): void {
    const value = readText(path)?.trim()
    if (value !== undefined) this.#before.push({ path, value })
  }
}

/** See `Settings.writeSlowly`. */
export async function writeSlowly(path: string, value: string, progress: Progress): Promise<boolean> {
  if (!existsSync(dirname(path))) return false
  try {
    const bounded = progress.within(GIVE_UP_MS)
    // Nor may it go on when this process is killed: whoever comes next would see limits change behind its back.
    const command = ['--pdeathsig', 'KILL', 'dd', `of=${path}`]
    const { exitCode } = await runCommand('setpriv', command, { input: value, progress: bounded })
    return exitCode === 0
  } catch (cause) {
    progress.throwIfEnded()
    if (CoppiceError.from(cause).code !== 'deadline_exceeded') throw cause
    return false
  }
}
