import type { ErrorBody, ProgressEvent } from '@coppice/protocol/wire'
import type { StorePort } from '../store/store-desk.ts'

/** What the bulk thread is told once for each job, with a port of the job's own for everything else. */
export interface StartMessage {
  name: string
  args: unknown
  /** Whether chunks will be sent. */
  fed: boolean
}

/** A call of the job to the store, by method name. */
export interface StoreCall {
  type: 'call'
  id: number
  method: keyof StorePort
  args: unknown[]
}

/** From the job. */
export type FromJob =
  | StoreCall
  | { type: 'event'; event: ProgressEvent }
  /** One chunk is done with: its memory comes back for another. */
  | { type: 'spent'; bytes: ArrayBuffer }
  | { type: 'done'; value: unknown }
  | { type: 'failed'; error: ErrorBody }

/** To the job. */
export type ToJob =
  | { type: 'reply'; id: number; value: unknown }
  | { type: 'refusal'; id: number; error: ErrorBody }
  | { type: 'abort'; error: ErrorBody }
  | { type: 'chunk'; bytes: ArrayBuffer; length: number }
  | { type: 'end' }
  /** The source of the chunks failed. */
  | { type: 'broken'; error: ErrorBody }

/** Chunks are gathered to this size before they are sent: 256 KiB. */
export const FEED_BYTES = 256 * 1024

/** Chunks that may be on their way to a job: 4, and so 1 MiB. Their memory goes round: a new one for each would be garbage of
 * the whole stream's size. */
export const FEED_WINDOW = 4
