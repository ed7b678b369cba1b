import { once } from 'node:events'
import { buildTar } from '@coppice/images/testing'
import { afterEach, expect, test } from 'vitest'
import { SyncedContext } from './synced-context.ts'

const LIMIT = 'COPPICE_TRANSFER_STALL_SECS'
const before = process.env[LIMIT]
afterEach(() => {
  if (before === undefined) delete process.env[LIMIT]
  else process.env[LIMIT] = before
})

async function* whole(tar: Buffer): AsyncGenerator<Buffer> {
  yield tar
}

test('an engine that takes nothing of a context that it has asked for is told apart from one that is at work', async () => {
  process.env[LIMIT] = '1'
  const tar = buildTar([
    { name: './Dockerfile', body: 'FROM x\n' },
    { name: './a', body: 'x' },
  ])
  const context = new SyncedContext(whole(tar), 1)
  const gone = new AbortController()
  const silent = new Promise<never>((_, reject) =>
    gone.signal.addEventListener('abort', () => reject(new Error('gone'))),
  )
  silent.catch(() => {})
  async function* nothing() {
    yield await silent
  }
  const [serve] = Object.values(context.conversations)
  const served = serve?.({
    headers: { 'dir-name': 'context', 'exclude-patterns': 'x' },
    signal: gone.signal,
    messages: nothing(),
    send: () => silent,
  })
  await once(context.stalled, 'abort')
  expect(context.failure).toMatchObject({ code: 'deadline_exceeded', reason: 'transfer_stalled' })
  gone.abort()
  await expect(served).rejects.toThrow('gone')
})
