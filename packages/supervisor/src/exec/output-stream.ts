import { encodeJsonFrame, FrameType } from '@coppice/protocol/wire'
import { JournalReader } from '../journal/reader.ts'
import type { FrameStream } from '../session/frame-stream.ts'
import type { ExecView } from './view.ts'

export interface OutputOptions {
  /** Journal offset of the first byte wanted; one that is not reached yet is waited for. */
  readonly from: number
  /** False: what is held now, and the end if there is one. */
  readonly follow: boolean
  /** The program of a `block` journal waits for this reader. */
  readonly block: boolean
}

/**
 * Sends an exec: `started`, then output and gaps from an offset on, then the end. Returns when that was sent, or when the
 * reader is gone.
 */
export async function sendOutput(frames: FrameStream, view: ExecView, options: OutputOptions): Promise<void> {
  const reader = new JournalReader(view.journal, options.from)
  const bell = new Bell()
  const unwatch = view.journal.watch(() => bell.ring())
  const unblock = options.block ? view.blockOn(reader) : undefined
  void frames.closed.then(() => bell.ring())
  try {
    let sending = frames.write(encodeJsonFrame(FrameType.started, 0, view.info()))
    while (!frames.over) {
      const { ended } = view
      const next = reader.next()
      const batch = next instanceof Promise ? await next : next
      if (batch) {
        // The reader fills one buffer while the other is being sent.
        await sending
        view.moved()
        sending = frames.write(batch)
      } else if (ended) return frames.end(endFrame(view))
      else if (!options.follow) return frames.end()
      else await bell.rung()
    }
  } finally {
    unwatch()
    unblock?.()
    await reader.close()
  }
}

function endFrame(view: ExecView): Buffer {
  const offset = view.journal.end
  return view.result
    ? encodeJsonFrame(FrameType.result, offset, view.result)
    : encodeJsonFrame(FrameType.error, offset, view.error)
}

/** Remembers one ring until somebody has waited for it. */
class Bell {
  #rang = false
  #waiting: (() => void) | undefined

  ring(): void {
    this.#rang = true
    this.#waiting?.()
  }

  async rung(): Promise<void> {
    if (!this.#rang) {
      await new Promise<void>((resolve) => {
        this.#waiting = resolve
      })
      this.#waiting = undefined
    }
    this.#rang = false
  }
}
