import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { expect, test } from 'vitest'
import { EngineLink } from './link.ts'

const none = Progress.none()

test('an engine that answers nobody is waited for once, not by one caller after the other', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'cpl-'))
  const calls: Socket[] = []
  const server = createServer((socket) => void calls.push(socket.resume())).listen(join(dir, 'engine.sock'))
  await once(server, 'listening')
  const env = { DOCKER_HOST: `unix://${join(dir, 'engine.sock')}` }
  const link = new EngineLink('docker', { env, home: dir, uid: 0, run: async () => ({ because: 'there is none' }) })
  try {
    for (let caller = 0; caller < 5; caller++) {
      await expect(link.reach(none)).rejects.toMatchObject({ code: 'unavailable', reason: 'engine_silent' })
    }
    expect(calls).toHaveLength(1)
  } finally {
    for (const socket of calls) socket.destroy()
    server.close()
    rmSync(dir, { recursive: true })
  }
})
