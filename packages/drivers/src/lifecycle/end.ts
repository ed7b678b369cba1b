import { bootId } from '../host/boot.ts'
import { openUntrusted } from '../host/untrusted-file.ts'
import type { Engine } from './engine.ts'
import type { SandboxFolder } from './folder.ts'
import type { SandboxEnd, SandboxRecord } from './record.ts'

const MAX_EXIT_FILE_BYTES = 4096

/**
 * Why a run whose init is gone has ended. Asked once, while its cgroups are still there. What the sandbox wrote itself (`exit`)
 * decides only between "ended by itself" and "killed": everything stronger comes from the kernel or from our own record.
 */
export async function explainEnd(engine: Engine, folder: SandboxFolder, record: SandboxRecord): Promise<SandboxEnd> {
  const at = Date.now()
  if (record.bootId !== bootId()) {
    return { reason: 'host_rebooted', message: 'The host was started again.', exitCode: null, at }
  }
  if (record.asked === 'remove') return { reason: 'removed', message: 'The sandbox was removed.', exitCode: null, at }
  const ended = await readExitFile(folder)
  if (record.asked === 'stop') {
    const message = ended
      ? 'The sandbox was stopped.'
      : 'The sandbox was stopped; it did not end in time and was killed.'
    return { reason: 'stopped', message, exitCode: ended?.exitCode ?? null, at }
  }
  if (ended)
    return { reason: 'exited', message: 'The init of the sandbox ended by itself.', exitCode: ended.exitCode, at }
  if (engine.initOomKilled(folder)) {
    return {
      reason: 'oom_killed',
      message: 'The sandbox was out of memory and the kernel killed its init.',
      exitCode: null,
      at,
    }
  }
  return { reason: 'killed', message: 'The init of the sandbox was killed from outside.', exitCode: null, at }
}

/** What the init wrote when it ended in order. Written inside the sandbox: nothing in it is believed beyond its shape. */
async function readExitFile(folder: SandboxFolder): Promise<{ exitCode: number | null } | undefined> {
  await using file = await openUntrusted(`${folder.state}/exit`)
  if (!file) return undefined
  const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_EXIT_FILE_BYTES), 0, MAX_EXIT_FILE_BYTES, 0)
  try {
    const { exitCode } = JSON.parse(buffer.toString('utf8', 0, bytesRead)) as { exitCode?: unknown }
    const valid = Number.isInteger(exitCode) && Number(exitCode) >= 0 && Number(exitCode) <= 255
    return { exitCode: valid ? Number(exitCode) : null }
  } catch {
    return undefined
  }
}
