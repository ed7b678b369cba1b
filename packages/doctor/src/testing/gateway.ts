import { execFile } from 'node:child_process'
import { mkdirSync, symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { makeBusyboxArchive } from '@coppice/images/testing'

const execute = promisify(execFile)

/** Root of the repository. */
export const ROOT = resolve(import.meta.dirname, '../../../..')

/** The command as people type it, for one home. */
export class CoppiceCommand {
  readonly home: string

  constructor(home: string) {
    this.home = home
  }

  /** Its standard output. Rejects with `code` and `stderr` when its exit status is not 0. */
  async run(...args: string[]): Promise<string> {
    const { COPPICE_URL: _url, COPPICE_TOKEN: _token, ...env } = process.env
    const { stdout } = await execute(join(ROOT, 'bin/coppice'), args, { env: { ...env, COPPICE_HOME: this.home } })
    return stdout.trim()
  }

  /**
   * A running gateway with the image `busybox`.
   * @param ownBundle a runtime bundle in the home itself; else one serves all homes of a test run
   */
  async start({ ownBundle = false } = {}): Promise<void> {
    const shared = process.env.COPPICE_TEST_SHARED
    if (shared && !ownBundle) {
      mkdirSync(join(shared, 'runtime'), { recursive: true })
      symlinkSync(join(shared, 'runtime'), join(this.home, 'runtime'))
    }
    await this.run('gateway', 'start')
    const archive = await makeBusyboxArchive(join(this.home, '..', 'busybox.tar'))
    await this.run('image', 'import', archive, '--name', 'busybox')
  }
}
