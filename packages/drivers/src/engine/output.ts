import type { Engine } from '@coppice/engines'
import type { Progress } from '@coppice/protocol/wire'

/** Lines of a container's output that are asked for: as many as fit, when each is short. */
const BYTES_PER_LINE = 16

/** The last `maxBytes` of a container's output. */
export async function outputTail(
  engine: Engine,
  container: string,
  maxBytes: number,
  progress: Progress,
): Promise<Buffer> {
  const lines = Math.max(1, Math.ceil(maxBytes / BYTES_PER_LINE))
  const parts: Buffer[] = []
  let length = 0
  for await (const part of engine.containers.logs(container, lines, progress)) {
    parts.push(part)
    length += part.length
    // Only the end is wanted: what is in front of it goes.
    while (parts[0] && length - parts[0].length >= maxBytes) length -= parts.shift()?.length ?? 0
  }
  return Buffer.concat(parts).subarray(-maxBytes)
}
