import { lstat } from 'node:fs/promises'
import type { Progress } from '@coppice/protocol/wire'
import { runChecked } from '../host/run.ts'
import { bodylessEntry } from '../tar/bodyless-entry.ts'
import { BLOCK } from '../tar/header.ts'

/** Node counts a file's times in microseconds; tar says them to the nanosecond, for any number of folders in one process. */
const TAR = [
  ...['setpriv', '--pdeathsig=KILL', '--', 'tar', '-x', '-f', '-', '--delay-directory-restore'],
  ...['--numeric-owner', '--same-owner', '--preserve-permissions'],
]

const NS = 1_000_000_000n

/** Times of folders that are written into, to be given back afterwards. */
export class FolderTimes {
  readonly #root: string
  readonly #entries = new Map<string, Buffer>()

  constructor(root: string) {
    this.#root = root
  }

  /**
   * Call it before something is put into the folder; only the first call counts. `folder`: a byte string (latin1) relative to the
   * root, '' for that itself.
   */
  async remember(folder: string): Promise<void> {
    if (this.#entries.has(folder)) return
    const name = Buffer.from(folder, 'latin1')
    const { mode, uid, gid, mtimeNs } = await lstat(Buffer.concat([Buffer.from(`${this.#root}/`), name]), {
      bigint: true,
    })
    const path = Buffer.concat([Buffer.from('./'), name])
    const records = { path, uid: `${uid}`, gid: `${gid}`, mtime: seconds(mtimeNs) }
    this.#entries.set(folder, bodylessEntry({ type: '5', mode: Number(mode & 0o7777n) }, records))
  }

  /** Gives all of them the times that they had. */
  async restore(progress: Progress): Promise<void> {
    if (this.#entries.size === 0) return
    const entries = this.#entries.values()
    async function* archive() {
      yield* entries
      yield Buffer.alloc(2 * BLOCK)
    }
    await runChecked(TAR, { cwd: this.#root, input: archive() }, progress)
  }
}

/** As pax has it: with a sign in front, also of less than a second. */
function seconds(ns: bigint): string {
  const [sign, size] = ns < 0n ? ['-', -ns] : ['', ns]
  return `${sign}${size / NS}.${String(size % NS).padStart(9, '0')}`
}
