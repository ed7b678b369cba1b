import type { CheckpointInfo } from '@coppice/protocol/wire'
import type { GatewayConnection } from './connection.ts'

/** Removing frees the bytes that only it held. */
const REMOVE_ANSWER_MS = 120_000

/** How a checkpoint is to be. */
export interface CheckpointOptions {
  /** Unique among checkpoints. */
  name?: string | undefined
  /** Idempotency key: the same key never makes two checkpoints. Generated when absent, so that a broken connection never does. */
  key?: string | undefined
  signal?: AbortSignal | undefined
}

/** The checkpoints of one gateway. `Sandbox.checkpoint` makes them. */
export class Checkpoints {
  readonly #connection: GatewayConnection

  /** Use `coppice.checkpoints`. */
  constructor(connection: GatewayConnection) {
    this.#connection = connection
  }

  /** Oldest first. */
  async list(): Promise<CheckpointInfo[]> {
    return (await this.listAll()).checkpoints
  }

  /** The same, with the registry files that could not be read and why. */
  listAll(): Promise<{ checkpoints: CheckpointInfo[]; skipped: { file: string; reason: string }[] }> {
    return this.#connection.json({ method: 'GET', path: '/v1/checkpoints' }, true)
  }

  /** By id or name. @throws `not_found/checkpoint_not_found` */
  get(idOrName: string): Promise<CheckpointInfo> {
    return this.#connection.json({ method: 'GET', path: pathOf(idOrName) }, true)
  }

  /** Removes it, by id or name. Sandboxes that were made from it keep their files. @throws `not_found/checkpoint_not_found` */
  remove(idOrName: string): Promise<CheckpointInfo> {
    return this.#connection.json({ method: 'DELETE', path: pathOf(idOrName), answerMs: REMOVE_ANSWER_MS }, false)
  }
}

function pathOf(idOrName: string): string {
  return `/v1/checkpoints/${encodeURIComponent(idOrName)}`
}
