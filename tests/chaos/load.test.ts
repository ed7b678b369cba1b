import type { Exec, Sandbox } from '@coppice/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openWorld, type World } from '../support/world.ts'

let world: World
beforeAll(async () => {
  world = await openWorld({ session: { leaseMs: 2_000, boundMs: 60_000 } })
}, 300_000)
afterAll(() => world?.dispose())

/**
 * A pipe in a sandbox that 20 execs can wait at, and an exec that holds it open and lets them go on when it is told to. Waiting
 * there is quiet: a thousand that look for a file again and again would keep the machine busy with nothing.
 */
async function shutGate(sandbox: Sandbox): Promise<Exec> {
  const program = 'mkfifo /tmp/gate; exec 3<>/tmp/gate; echo shut; read word; seq 20 >&3; cat'
  const gate = await sandbox.spawn(program, { stdin: 'stream' })
  await world.until(() => gate.offset > 0, 'the gate to be shut', 30_000)
  return gate
}

describe('50 sandboxes with 20 quiet execs each', () => {
  it('deliver 1,000 of 1,000 results right when all sessions are reset at once', { timeout: 600_000 }, async () => {
    const sandboxes = await world.createMany(50, { memoryMB: 128 })
    const links = await Promise.all(sandboxes.map((sandbox) => world.interpose(sandbox)))
    const gates = await Promise.all(sandboxes.map(shutGate))
    const results = sandboxes.flatMap((sandbox, s) =>
      Array.from({ length: 20 }, async (_, e) => {
        const exec = await sandbox.spawn(`read line < /tmp/gate; echo ${s}/${e}; exit ${(s + e) % 100}`)
        await exec.started
        return { s, e, exec }
      }),
    )
    const execs = await Promise.all(results)
    const opened = links.map((link) => link.opened)
    for (const link of links) link.cut()
    await world.until(
      () => links.every((link, at) => link.opened > (opened[at] ?? 0)),
      'all sessions to be back',
      60_000,
    )
    await Promise.all(gates.map((gate) => gate.stdin.write('open\n')))
    for (const { s, e, exec } of execs) {
      let output = ''
      for await (const chunk of exec.output) if ('bytes' in chunk) output += chunk.bytes.toString()
      expect(output).toBe(`${s}/${e}\n`)
      expect((await exec.result).exitCode).toBe((s + e) % 100)
    }
    expect(execs).toHaveLength(1000)
    await Promise.all(gates.map((gate) => gate.stdin.end().then(() => gate.result)))
    for (const link of links) link.dispose()
    await Promise.all(sandboxes.map((sandbox) => sandbox.remove()))
  })
})
