import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openWorld, type World } from '../support/world.ts'

/** A dead link is noticed within this, and what a slow machine may add. */
const NOTICED_MS = 15_000
const ROOM_MS = 5_000

describe('a link that is black-holed, with the lease that people have', () => {
  let world: World
  beforeAll(async () => {
    world = await openWorld()
  }, 300_000)
  afterAll(() => world?.dispose())

  it('is noticed within 15 s; a silent exec goes on and its result is delivered', { timeout: 90_000 }, async () => {
    const sandbox = await world.create()
    const link = await world.interpose(sandbox)
    await sandbox.exec('mkfifo /tmp/go')
    const exec = await sandbox.spawn('read line < /tmp/go; echo "$line"; exit 5')
    await exec.started
    const opened = link.opened
    link.blackHole()
    const noticed = async () => link.opened > opened && !(await sandbox.inspect()).connected
    await world.until(noticed, 'both sides to give the dead link up', NOTICED_MS + ROOM_MS)
    link.openAgain()
    await sandbox.exec('echo heard > /tmp/go')
    let output = ''
    for await (const chunk of exec.output) if ('bytes' in chunk) output += chunk.bytes.toString()
    expect(output).toBe('heard\n')
    expect(await exec.result).toMatchObject({ exitCode: 5 })
    link.dispose()
  })
})
