import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { Measured } from './measure.ts'

/** Measures the kind `sandboxes` of a filled registry in a process that has never seen it, running as user `uid`. */
export async function measureAnew(place: string, uid = 0): Promise<Measured> {
  const child = fork(new URL('./measure.ts', import.meta.url).pathname, [place, String(uid)])
  const ended = once(child, 'exit')
  const [measured] = (await Promise.race([
    once(child, 'message'),
    ended.then(([code]) => Promise.reject(new Error(`the measuring process ended with ${code}`))),
  ])) as [Measured]
  await ended
  return measured
}
