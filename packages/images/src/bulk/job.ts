import type { Progress } from '@coppice/protocol/wire'
import type { StorePort } from '../store/store-desk.ts'

/** What a job in the bulk thread has besides its arguments. */
export interface JobContext {
  store: StorePort
  /** The bytes that it is fed, once; empty for a job that is fed nothing. */
  input: AsyncIterable<Buffer>
  progress: Progress
}

/**
 * Work on much data that runs in the bulk thread. Arguments and result are structured-cloned. It ends when its progress
 * does, has removed its scratch files then, and throws `CoppiceError`s.
 */
export type Job<Args, Result> = (args: Args, context: JobContext) => Promise<Result>
