import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import { missingProgram } from '../host/programs.ts'

/** Ids of one range: a sandbox has the ids 0 to 65535. */
export const UID_COUNT = 65_536

/**
 * A user namespace in which id N is `uidBase + N` outside, held open by a sleeping process. Files made by root in it have the
 * owners that a sandbox of that range expects, and because its root may set ids, setuid bits and file capabilities of its
 * own range, nothing has to be chowned afterwards (which would clear them).
 *
 * The holder reads from a pipe of ours: it ends with us, also when we are killed.
 */
export class UserNamespace {
  readonly #holder: ChildProcess
  readonly #pid: number

  private constructor(holder: ChildProcess, pid: number) {
    this.#holder = holder
    this.#pid = pid
  }

  /** Throws `failed_precondition/program_missing`, `unavailable/user_namespaces`. */
  static async open(uidBase: number): Promise<UserNamespace> {
    const holder = spawn('unshare', ['--user', '--', 'sh', '-c', 'echo ready; read -r line'], {
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    const said: Buffer[] = []
    holder.stderr.on('data', (chunk: Buffer) => said.push(chunk))
    const failed = once(holder, 'close').then(([code]) => {
      throw unavailable(`unshare ended with ${code}: ${Buffer.concat(said).toString().trim().slice(0, 500)}`)
    })
    failed.catch(() => undefined)
    try {
      await Promise.race([once(holder.stdout, 'data'), failed])
      const pid = holder.pid ?? 0
      await writeFile(`/proc/${pid}/uid_map`, `0 ${uidBase} ${UID_COUNT}`)
      await writeFile(`/proc/${pid}/gid_map`, `0 ${uidBase} ${UID_COUNT}`)
      return new UserNamespace(holder, pid)
    } catch (error) {
      holder.kill('SIGKILL')
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw missingProgram('unshare', error)
      throw error instanceof CoppiceError ? error : unavailable(String(error), error)
    }
  }

  /** Program and arguments that run a command as root of this namespace. */
  command(argv: string[]): string[] {
    return ['nsenter', `--user=/proc/${this.#pid}/ns/user`, '-S', '0', '-G', '0', '--', ...argv]
  }

  close(): void {
    this.#holder.kill('SIGKILL')
  }
}

function unavailable(detail: string, cause?: unknown): CoppiceError {
  return new CoppiceError('unavailable', 'user_namespaces', `A user namespace could not be made: ${detail}`, {
    cause,
    retryable: false,
    hint: 'sysctl user.max_user_namespaces kernel.unprivileged_userns_clone',
  })
}
