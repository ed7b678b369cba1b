import { setTimeout as sleep } from 'node:timers/promises'
import { descendants, isAlive, type ProcessStat, sendSignal } from './processes.ts'

const SIGKILL = 9
const SIGSTOP = 19
const SIGCONT = 18

/** Looks at the tree while it is being stopped; a program that forks without end is caught well before. */
const MAX_ROUNDS = 200
const POLL_MS = 2

/** The processes under a subreaper, which adopts every orphan among them: however they changed, they are found from it. */
export class Tree {
  readonly #subreaper: number
  readonly #keeper: number

  /** `subreaper` 0: an empty tree. `keeper` is a process in it that is not touched. */
  constructor(subreaper: number, keeper = 0) {
    this.#subreaper = subreaper
    this.#keeper = keeper
  }

  members(): ProcessStat[] {
    if (this.#subreaper === 0) return []
    return descendants(this.#subreaper).filter((stat) => stat.pid !== this.#keeper && isAlive(stat))
  }

  /** A stopped subreaper goes on adopting but cannot leave when its program has ended; `kill` lets it go. */
  hold(): void {
    sendSignal(this.#subreaper, SIGSTOP)
  }

  /** Sends a signal to all of them at one moment: they are stopped before and continued after. */
  async signal(signal: number): Promise<void> {
    const stopped = await this.#stopAll()
    for (const pid of stopped) sendSignal(pid, signal)
    if (signal === SIGKILL) return
    for (const pid of stopped) sendSignal(pid, SIGCONT)
  }

  /**
   * Kills all of them. One look at the processes is not enough to know that none is left: one that forks and ends while the look
   * goes on is seen neither before nor after. But the held subreaper collects nobody, so it would leave a dead process behind:
   * two looks that find none alive and the same dead are the end.
   */
  async kill(): Promise<void> {
    this.hold()
    let deadBefore: string | undefined
    for (;;) {
      const all = this.#subreaper === 0 ? [] : descendants(this.#subreaper)
      const alive = all.filter((stat) => stat.pid !== this.#keeper && isAlive(stat))
      const dead = all.flatMap((stat) => (isAlive(stat) ? [] : [stat.pid])).join()
      if (alive.length === 0 && dead === deadBefore) break
      deadBefore = alive.length === 0 ? dead : undefined
      if (alive.length > 0) await this.signal(SIGKILL)
      await sleep(POLL_MS)
    }
    sendSignal(this.#subreaper, SIGCONT)
  }

  /** Stops everything, round by round, until a round finds nothing that still runs. */
  async #stopAll(): Promise<number[]> {
    let members = this.members()
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const running = members.filter((stat) => stat.state !== 'T' && stat.state !== 't')
      if (running.length === 0) break
      for (const stat of running) sendSignal(stat.pid, SIGSTOP)
      await sleep(POLL_MS)
      members = this.members()
    }
    return members.map((stat) => stat.pid)
  }
}
