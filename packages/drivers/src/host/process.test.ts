import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { identify, isAlive, processStat, signalProcess, waitGone } from './process.ts'
import { killHolders, processesWithFile, processesWithVariable } from './process-search.ts'
import { processTree } from './process-tree.ts'

describe('processes of the host', () => {
  const children: ChildProcess[] = []
  const start = (program: string, args: string[], env: Record<string, string> = {}): number => {
    const child = spawn(program, args, { stdio: 'ignore', env: { PATH: process.env.PATH ?? '', ...env } })
    children.push(child)
    return child.pid as number
  }
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
  })

  test('are told apart from later ones with the same PID', () => {
    const pid = start('sleep', ['100'])
    const identity = identify(pid)
    expect(identity).toMatchObject({ pid })
    expect(isAlive({ pid, startTicks: (identity?.startTicks ?? 0) - 1 })).toBe(false)
    expect(signalProcess({ pid, startTicks: 1 }, 'SIGKILL')).toBe(false)
    expect(identity && isAlive(identity)).toBe(true)
  })

  test('are read right whatever their name holds', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'coppice-name-'))
    try {
      const program = join(folder, 'a) Z 1 (b')
      symlinkSync('/bin/sleep', program)
      const pid = start(program, ['100'])
      await once(children[0] as ChildProcess, 'spawn')
      expect(processStat(pid)).toMatchObject({ pid, parent: process.pid, state: expect.stringMatching(/[SRD]/) })
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('are waited for, and a wait ends with its time or its signal', async () => {
    const target = identify(start('sleep', ['100']))
    if (!target) throw new Error('the child did not start')
    expect(await waitGone(target, 20)).toBe(false)
    expect(await waitGone(target, 60_000, AbortSignal.timeout(20))).toBe(false)
    signalProcess(target, 'SIGKILL')
    expect(await waitGone(target, 5000)).toBe(true)
  })

  test('are found by a variable of their environment', async () => {
    const pid = start('sleep', ['100'], { COPPICE_TEST_MARK: 'here' })
    await once(children[0] as ChildProcess, 'spawn')
    expect(processesWithVariable('COPPICE_TEST_MARK=here').map((found) => found.pid)).toEqual([pid])
    expect(processesWithVariable('COPPICE_TEST_MARK=her')).toEqual([])
  })

  test('are found and killed by a file that they hold open', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'coppice-file-'))
    try {
      const file = join(folder, 'held')
      const pid = start('sh', ['-c', 'exec sleep 100 >"$0"', file])
      await once(children[0] as ChildProcess, 'spawn')
      while (processesWithFile(file).length === 0) await new Promise(setImmediate)
      expect(processesWithFile(file).map((found) => found.pid)).toEqual([pid])
      await killHolders(file)
      expect(identify(pid)).toBeUndefined()
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('are found with all their descendants', async () => {
    const pid = start('sh', ['-c', 'sh -c "sleep 100 & wait" & wait'])
    const root = identify(pid)
    if (!root) throw new Error('the child did not start')
    while (processTree([root]).length < 3) await new Promise(setImmediate)
    const tree = processTree([root])
    expect(tree[0]).toEqual(root)
    for (const member of tree) signalProcess(member, 'SIGKILL')
  })
})
