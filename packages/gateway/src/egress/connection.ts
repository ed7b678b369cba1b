import type { Judge } from './policy/judge.ts'

/** One connection of a program, from its asking to its end. It takes itself out of its sandbox's set when it is over. */
export interface Connection {
  /** The program went away, or nobody answers for it any more. Nothing happens to one that is over. */
  cut(end: string): void
  /** The policy has changed. */
  rejudge(judge: Judge): void
  /** Looks for what has stood still for too long. @param now as `performance.now()` */
  sweep(now: number): void
}
