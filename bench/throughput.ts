import { createReadStream, createWriteStream, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { growthOf } from '../tests/support/growth.ts'
import type { World } from '../tests/support/world.ts'
import { type Figure, mib, rate } from './figures.ts'

const GiB = 1024 ** 3
const MiB = 1024 ** 2
const SIZE = 2 * GiB

/** How fast bytes move, and what it costs the two processes that they pass. */
export async function throughput(world: World): Promise<Figure[]> {
  const figures: Figure[] = []
  const sandbox = await world.create({ memoryMB: 4096, cpus: 2 })
  const supervisorPid = world.supervisorPid(sandbox)
  const folder = mkdtempSync(join(tmpdir(), 'coppice-bench-'))
  const measure = async (name: string, target: number, work: () => Promise<void>) => {
    let elapsed = 0
    const grown = await growthOf({ gateway: world.gateway.pid, supervisor: supervisorPid }, async () => {
      const start = performance.now()
      await work()
      elapsed = performance.now() - start
    })
    const speed = SIZE / 1e6 / (elapsed / 1000)
    figures.push({ name, value: rate(SIZE, elapsed), target: `≥ ${target} MB/s`, met: speed >= target })
    const most = Math.max(grown.gateway, grown.supervisor)
    figures.push({
      name: `memory during: ${name}`,
      value: `gateway +${mib(grown.gateway)}, supervisor +${mib(grown.supervisor)}`,
      target: '≤ 64 MiB each',
      met: most <= 64 * MiB,
    })
  }

  await measure('2 GiB of exec output, journalled', 150, async () => {
    // Not `head -c`: busybox's reads byte by byte and would itself be what is measured (200 MB/s into /dev/null).
    const exec = await sandbox.spawn(['dd', 'if=/dev/zero', 'bs=64k', `count=${SIZE / 65_536}`, 'status=none'], {
      // With `spill` the program runs ahead of its reader by more than the journal's 1 GiB, and the rest is a named gap.
      journal: 'block',
    })
    let bytes = 0
    for await (const chunk of exec.output) if ('bytes' in chunk) bytes += chunk.bytes.length
    if (bytes !== SIZE) throw new Error(`${bytes} bytes of output arrived`)
  })
  const local = join(folder, 'file')
  writeFileSync(local, '')
  truncateSync(local, SIZE)
  await measure('2 GiB file into the sandbox', 250, async () => {
    await sandbox.files.write('/root/file', createReadStream(local, { highWaterMark: MiB }))
  })
  await measure('2 GiB file out of the sandbox', 250, async () => {
    await pipeline(await sandbox.files.readStream('/root/file'), createWriteStream('/dev/null'))
  })
  rmSync(folder, { recursive: true })
  await sandbox.remove()
  return figures
}
