import { request } from 'node:http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openWorld, type World } from '../support/world.ts'

let world: World
beforeAll(async () => {
  world = await openWorld()
}, 120_000)
afterAll(() => world?.dispose())

test('a client that is cut off in the middle of standard input has not ended it', { timeout: 60_000 }, async () => {
  const sandbox = await world.create()
  const { url, token } = world.gateway
  for (let round = 0; round < 20; round += 1) {
    const exec = await sandbox.spawn('wc -c', { stdin: 'stream' })
    await exec.started
    const path = `/v1/sandboxes/${sandbox.id}/execs/${exec.id}/stdin`
    const call = request(`${url}${path}?offset=0&end=1`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
    })
    call.on('error', () => {})
    call.on('response', (answer) => {
      answer.on('error', () => {})
      // The first acknowledgement: what was sent has arrived.
      answer.once('data', () => call.destroy())
    })
    call.write('12345')
    await new Promise((done) => call.once('close', done))
    // The rest comes on another connection, as a resuming sender's does, and only that one ends it.
    const rest = await fetch(`${url}${path}?offset=5&end=1`, {
      method: 'POST',
      // Whatever the body says it is: it is bytes.
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: '6789',
    })
    expect([round, rest.status]).toEqual([round, 200])
    await rest.arrayBuffer()
    let said = ''
    for await (const chunk of exec.output) if ('bytes' in chunk) said += chunk.bytes.toString()
    expect([round, said.trim()]).toEqual([round, '9'])
  }
  await sandbox.remove()
})
