import { rm } from 'node:fs/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import { runCommand } from '../host/command.ts'
import { isAlive, type ProcessIdentity, signalProcess, waitGone } from '../host/process.ts'
import type { Engine } from './engine.ts'
import type { SandboxFolder } from './folder.ts'
import { readRecord, type SandboxRecord } from './record.ts'

/** Milliseconds that the kernel gets to end a killed init. Only a process stuck in the kernel needs more than a few. */
const KILL_TIMEOUT_MS = 10_000

/**
 * SIGTERM to the init, and up to `graceMs` for its end. Again and again: the kernel drops the signal when it comes before the
 * init of a PID namespace has taken an interest in it. Once ending, the init ignores more of them. Without grace nothing is sent.
 * Returns whether it is gone.
 */
export async function endInOrder(init: ProcessIdentity, graceMs: number, signal: AbortSignal): Promise<boolean> {
  const deadline = performance.now() + graceMs
  for (let leftMs = graceMs; leftMs > 0 && !signal.aborted; leftMs = deadline - performance.now()) {
    signalProcess(init, 'SIGTERM')
    if (await waitGone(init, Math.min(leftMs, TERM_AGAIN_MS), signal)) return true
  }
  return !isAlive(init)
}

const TERM_AGAIN_MS = 500

/** SIGKILL to the init, and waits until it is gone. Throws `unavailable/init_does_not_die`. */
export async function killInit(engine: Engine, folder: SandboxFolder, record: SandboxRecord): Promise<void> {
  const { init } = record
  if (!init) return
  await engine.kill(folder, init)
  if (await waitGone(init, KILL_TIMEOUT_MS)) return
  throw new CoppiceError(
    'unavailable',
    'init_does_not_die',
    `The init of ${folder.id} (${init.pid}) does not end after SIGKILL.`,
    {
      facts: { pid: init.pid },
      hint: `cat /proc/${init.pid}/stack`,
    },
  )
}

/** Leaves nothing of a sandbox, whatever there was. Throws `unavailable/files_not_removed`. */
export async function discard(engine: Engine, folder: SandboxFolder): Promise<void> {
  const record = await readRecord(folder.record)
  await engine.release(folder, record)
  await engine.discard?.(folder)
  if (record) await rm(`${record.runDir}/sandbox.json`, { force: true })
  // Not Node's rm: a sandbox can nest folders deeper than a path may be long.
  const { exitCode, text } = await runCommand('rm', ['-rf', '--one-file-system', '--', folder.path])
  if (exitCode === 0) return
  throw new CoppiceError('unavailable', 'files_not_removed', `The files of ${folder.id} could not be removed.`, {
    facts: { path: folder.path, detail: text },
    hint: `rm -rf ${folder.path}`,
  })
}
