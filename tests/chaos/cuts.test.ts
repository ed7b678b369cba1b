import { createHash, randomBytes, randomInt } from 'node:crypto'
import type { Sandbox } from '@coppice/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { LinkProxy } from '../support/link-proxy.ts'
import { openWorld, type World } from '../support/world.ts'

/** Cuts in each test. The contract says 200. */
const CUTS = 200

/** Within this a call goes on or fails, milliseconds, and what a slow machine may add. */
const BOUND_MS = 30_000
const ROOM_MS = 30_000

let world: World

beforeAll(async () => {
  // A short lease makes a session count as one that lived, so that 200 cuts do not end in 5 s back-offs.
  world = await openWorld({ session: { leaseMs: 1_000, boundMs: BOUND_MS } })
}, 300_000)
afterAll(() => world?.dispose())

async function linkedSandbox(): Promise<{ sandbox: Sandbox; link: LinkProxy }> {
  const sandbox = await world.create()
  return { sandbox, link: await world.interpose(sandbox) }
}

/** Cuts the link at a random byte of what comes out of the sandbox, again and again, until `count` sessions were cut. */
async function cutOutward(link: LinkProxy, count: number): Promise<void> {
  for (let cut = 0; cut < count; cut += 1) {
    const before = link.opened
    link.cutAfter(randomInt(1, 400_000))
    await world.until(() => link.opened > before, 'the supervisor to dial again', BOUND_MS + ROOM_MS)
  }
}

describe.concurrent('a session that is cut 200 times at random moments', () => {
  it('leaves a client with one unbroken stream: no gap, no repeat, the right exit code', {
    timeout: 600_000,
  }, async () => {
    const { sandbox, link } = await linkedSandbox()
    const program = 'i=0; while [ ! -e /tmp/stop ]; do seq $i $((i+999)); i=$((i+1000)); done; exit 7'
    const exec = await sandbox.spawn(program)
    let next = 0
    let rest = ''
    let offset = 0
    const reading = (async () => {
      for await (const chunk of exec.output) {
        if (!('bytes' in chunk)) throw new Error(`a gap: ${JSON.stringify(chunk)}`)
        expect(chunk.offset).toBe(offset)
        offset += chunk.bytes.length
        const lines = (rest + chunk.bytes.toString('latin1')).split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) {
          if (line !== String(next)) throw new Error(`line ${next} reads ${JSON.stringify(line)}`)
          next += 1
        }
      }
    })()
    await cutOutward(link, CUTS)
    await sandbox.files.write('/tmp/stop', '')
    const result = await exec.result
    await reading
    expect(result).toMatchObject({ exitCode: 7, signal: null, stdoutBytes: offset, gaps: [] })
    expect(rest).toBe('')
    expect(next % 1000).toBe(0)
    expect(link.opened).toBeGreaterThan(CUTS)
  })

  it('loses and repeats no byte of stdin', { timeout: 600_000 }, async () => {
    const { sandbox, link } = await linkedSandbox()
    const exec = await sandbox.spawn(['sha256sum'], { stdin: 'stream' })
    const hash = createHash('sha256')
    let done = false
    const startedAt = link.opened
    const cutting = cutInward(link, () => !done)
    let sent = 0
    while (link.opened - startedAt < CUTS && sent < 512 * 1024 * 1024) {
      const piece = randomBytes(randomInt(1, 200_000))
      hash.update(piece)
      sent += piece.length
      await exec.stdin.write(piece)
    }
    await exec.stdin.end()
    done = true
    await cutting
    let output = ''
    for await (const chunk of exec.output) if ('bytes' in chunk) output += chunk.bytes.toString()
    expect(output.split(' ')[0]).toBe(hash.digest('hex'))
    expect(await exec.result).toMatchObject({ exitCode: 0 })
  })

  it('writes an uploaded file whole, and shows nobody half of it meanwhile', { timeout: 600_000 }, async () => {
    const { sandbox, link } = await linkedSandbox()
    await sandbox.files.write('/tmp/target', 'old')
    const hash = createHash('sha256')
    let sent = 0
    let done = false
    const startedAt = link.opened
    async function* source() {
      while (link.opened - startedAt < CUTS && sent < 512 * 1024 * 1024) {
        const piece = randomBytes(randomInt(1, 200_000))
        hash.update(piece)
        sent += piece.length
        yield piece
        if (sent % 7 === 0) expect((await sandbox.files.read('/tmp/target')).toString()).toBe('old')
      }
    }
    const cutting = cutInward(link, () => !done)
    await sandbox.files.write('/tmp/target', source())
    done = true
    await cutting
    const { stdout } = await sandbox.exec(['sha256sum', '/tmp/target'])
    expect(stdout.split(' ')[0]).toBe(hash.digest('hex'))
    const left = await sandbox.exec('ls -A /tmp | grep -v "^target$"')
    expect(left.stdout).toBe('')
  })
})

/** Cuts at random moments of what goes into the sandbox. */
async function cutInward(link: LinkProxy, meanwhile: () => boolean): Promise<void> {
  while (meanwhile()) {
    const before = link.opened
    link.cutAfterInward(randomInt(1, 400_000))
    await world.until(() => link.opened > before || !meanwhile(), 'the supervisor to dial again', BOUND_MS + ROOM_MS)
  }
}
