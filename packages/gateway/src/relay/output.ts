import { FRAMES_MEDIA_TYPE } from '@coppice/protocol'
import type { RelayClient } from './client.ts'
import { FrameCutter } from './frame-cutter.ts'
import { pump } from './pump.ts'
import { onEachSession, type RelayCall, type RelayTarget } from './relay.ts'
import type { Upstream } from './upstream.ts'

/** Called with the output that passes, as views that must be copied to be kept. */
export type OutputListener = (payload: Buffer) => void

/**
 * Relays an exec's output. When the session breaks, the same answer goes on from the next one at the exact offset: the
 * client sees one unbroken stream.
 *
 * @param callFrom the call that reads from a journal offset on; it must be one that can be made again.
 */
export async function relayOutput(
  target: RelayTarget,
  client: RelayClient,
  from: number,
  callFrom: (offset: number) => RelayCall,
  onOutput: OutputListener,
): Promise<void> {
  const cutter = new FrameCutter(from, onOutput)
  await onEachSession(target, client, async (start) => {
    cutter.reset()
    const upstream = start(callFrom(cutter.nextOffset))
    const answer = await upstream.answer(target.boundMs)
    if (answer[':status'] !== 200) throw await upstream.error()
    if (answer['content-type'] !== FRAMES_MEDIA_TYPE) {
      await passWhole(client, upstream, answer[':status'])
      return
    }
    client.startFrames()
    await pump(upstream, client.response, cutter)
  })
}

/** Largest JSON answer (a detached exec's info), bytes. */
const MAX_JSON_BYTES = 8 * 1024 * 1024

async function passWhole(client: RelayClient, upstream: Upstream, status: number): Promise<void> {
  const body = await upstream.body(MAX_JSON_BYTES)
  client.response.writeHead(status, { 'content-type': 'application/json', 'content-length': body.length })
  client.response.end(body)
}
