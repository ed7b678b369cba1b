import { once } from 'node:events'
import type { Exec } from '@coppice/sdk'

/** The reader of this program's output went away. */
export class OutputClosed extends Error {}

/**
 * Passes an exec's output on to this program's own, as fast as its reader takes it. What is missing is said on standard error.
 *
 * @throws OutputClosed when the reader went away (`| head`)
 */
export async function passOutput(exec: Exec, say: (text: string) => void): Promise<void> {
  let closed: Error | undefined
  const onError = (error: Error) => {
    closed = error
  }
  process.stdout.on('error', onError)
  process.stderr.on('error', onError)
  for await (const chunk of exec.output) {
    if (closed) throw new OutputClosed(closed.message)
    if (chunk.stream === 'gap') {
      const { from, to, reason } = chunk.gap
      say(`coppice: bytes ${from} to ${to} of the output are gone (${reason})`)
      continue
    }
    const stream = process[chunk.stream]
    if (!stream.write(chunk.bytes)) await Promise.race([once(stream, 'drain'), once(stream, 'close')]).catch(onError)
  }
  if (closed) throw new OutputClosed(closed.message)
}

/** Waits until everything that was written to this program's output has left it. */
export async function flushOutput(): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    if (stream.writableLength > 0 && !stream.destroyed) await new Promise((resolve) => stream.write('', resolve))
  }
}
