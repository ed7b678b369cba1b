import { once } from 'node:events'
import { chmodSync } from 'node:fs'
import http2 from 'node:http2'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { stageRuntime } from '@coppice/runtime'
import { afterEach, describe, expect, test } from 'vitest'
import { EngineSubject } from '../testing/engine-subject.ts'

const none = Progress.none()

describe('a supervisor in a container', () => {
  let subject: EngineSubject | undefined
  afterEach(async () => {
    await subject?.close()
    subject = undefined
  })

  for (const kind of ['docker', 'podman'] as const) {
    test(`of ${kind} dials in through the mounted folder, and ends the whole tree of an exec without a cgroup of its own`, async (context) => {
      const opened = await EngineSubject.open(kind)
      if ('unavailable' in opened) return context.skip(opened.unavailable)
      subject = opened
      const driver = subject.open()
      const { dir } = await stageRuntime({ cacheDir: join(subject.workspace.path, 'real-runtime') })
      const spec = subject.spec({ runtimeDir: dir })
      const server = createServer().listen(join(spec.runDir, 'gw.sock'))
      await once(server, 'listening')
      chmodSync(join(spec.runDir, 'gw.sock'), 0o666)
      const connection = once(server, 'connection')
      await driver.create(spec, none)
      const [socket] = (await connection) as [Socket]
      const [hello] = await once(socket, 'data')
      expect(JSON.parse(String(hello))).toMatchObject({ coppice: 'session', sandboxId: spec.id, token: 'token' })
      socket.write('{"ok":true,"version":1,"leaseMs":12000}\n')
      const session = http2.connect('http://sandbox', { createConnection: () => socket })
      const call = async (method: string, path: string, body?: unknown): Promise<string> => {
        const stream = session.request({ ':method': method, ':path': path, 'content-type': 'application/json' })
        stream.end(body === undefined ? undefined : JSON.stringify(body))
        let text = ''
        for await (const chunk of stream) text += String(chunk)
        return text
      }
      expect(JSON.parse(await call('GET', '/info'))).toMatchObject({ killScope: 'subreaper' })
      const shell = '(setsid sleep 1001 &); (trap "" TERM; while :; do sleep 1002; done) & sleep 1003'
      const exec = { id: 'ex-0123456789abcdef', key: 'k', shell, stdin: 'none', journal: 'spill', tied: false }
      expect(await call('POST', '/execs?follow=1', { ...exec, timeoutMs: 300, graceMs: 100 })).toContain(
        '"timedOut":true',
      )
      expect((await subject.inside(spec.id, ['sh', '-c', 'ps'])).output).not.toMatch(/sleep 100[123]/)
      session.destroy()
      server.close()
      await driver.close()
    })
  }
})
