import type { ProgressEvent } from '@coppice/protocol/wire'

/** Bytes between two events: often enough for a smooth line, seldom enough to cost nothing. */
const STEP_BYTES = 4 * 1024 * 1024

/**
 * The same pieces, with progress told as they are taken.
 *
 * @param total bytes that will come, where that is known
 */
export async function* counted(
  source: AsyncIterable<Buffer>,
  message: string,
  total: number | undefined,
  onProgress: ((event: ProgressEvent) => void) | undefined,
): AsyncGenerator<Buffer> {
  let done = 0
  let told = 0
  const tell = () => {
    told = done
    onProgress?.({ message, done, ...(total === undefined ? {} : { total }), unit: 'bytes' })
  }
  tell()
  for await (const piece of source) {
    yield piece
    done += piece.length
    if (done - told >= STEP_BYTES) tell()
  }
  if (done > told) tell()
}
