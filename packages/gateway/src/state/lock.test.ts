import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { takeLock } from './lock.ts'

const holder = (path: string) =>
  spawn(
    process.execPath,
    [
      '-e',
      `import(${JSON.stringify(new URL('./lock.ts', import.meta.url).href)}).then(({takeLock}) => { takeLock(process.argv[1]); console.log('held'); setInterval(() => {}, 1000) })`,
      path,
    ],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )

it('is held by one process at a time and freed by its death, even by SIGKILL', async () => {
  const path = join(mkdtempSync(join(tmpdir(), 'coppice-lock-')), 'gateway.lock')
  const other = holder(path)
  await once(other.stdout, 'data')
  expect(() => takeLock(path)).toThrow(expect.objectContaining({ reason: 'gateway_running' }))
  other.kill('SIGKILL')
  await once(other, 'exit')
  const lock = takeLock(path)
  expect(() => takeLock(path)).toThrow(expect.objectContaining({ code: 'already_exists' }))
  lock.release()
  takeLock(path).release()
})
