import { Progress } from '@coppice/protocol/wire'
import { expect, test } from 'vitest'
import { runCommand } from './command.ts'

test('a command gives its exit status and the end of what it said', async () => {
  expect(await runCommand('sh', ['-c', 'echo out; echo err >&2; exit 3'])).toEqual({ exitCode: 3, text: 'out\nerr\n' })
  const { text } = await runCommand('sh', ['-c', 'head -c 100000 /dev/zero | tr "\\0" x; echo end'])
  expect(text).toHaveLength(16 * 1024)
  expect(text).toMatch(/xend\n$/)
})

test('a command does not get our environment', async () => {
  process.env.COPPICE_SECRET = 'secret'
  expect((await runCommand('env', [])).text).not.toContain('COPPICE_SECRET')
  delete process.env.COPPICE_SECRET
})

test('a command is killed when its progress ends', async () => {
  const progress = new Progress({ timeoutMs: 50 })
  await expect(runCommand('sleep', ['100'], { progress })).rejects.toMatchObject({ code: 'deadline_exceeded' })
})

test('a program that is missing is a typed error', async () => {
  await expect(runCommand('no-such-program', [])).rejects.toMatchObject({
    code: 'unavailable',
    reason: 'program_missing',
  })
})
