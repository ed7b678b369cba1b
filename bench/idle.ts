import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { privateBytes, processesWith, residentBytes } from '../tests/support/host.ts'
import type { World } from '../tests/support/world.ts'
import { type Figure, mib } from './figures.ts'

const MiB = 1024 ** 2
const WATCH_SECONDS = 20

/** What it costs when nothing happens. */
export async function idle(world: World): Promise<Figure[]> {
  const sandboxes = await world.createMany(100, { memoryMB: 128 })
  for (const sandbox of sandboxes) await sandbox.exec(['true'])
  await delay(10_000)
  const [one] = sandboxes
  if (!one) throw new Error('no sandbox was made')
  const processes = processesWith(world.initPid(one))
  const bytes = processes.reduce((sum, { pid }) => sum + privateBytes(pid), 0)
  const before = cpuSeconds(world.gateway.pid)
  await delay(WATCH_SECONDS * 1000)
  const share = (cpuSeconds(world.gateway.pid) - before) / WATCH_SECONDS
  const resident = residentBytes(world.gateway.pid)
  for (let at = 0; at < sandboxes.length; at += 10) {
    await Promise.all(sandboxes.slice(at, at + 10).map((sandbox) => sandbox.remove()))
  }
  return [
    {
      name: 'private memory of one idle sandbox',
      value: `${mib(bytes)} in ${processes.length} processes`,
      target: '≤ 18 MiB',
      met: bytes <= 18 * MiB,
    },
    {
      name: 'gateway with 100 idle sandboxes',
      value: `${mib(resident)} resident, ${(share * 100).toFixed(2)} % of a core`,
      target: '≤ 150 MiB, < 2 %',
      met: resident <= 150 * MiB && share < 0.02,
    },
  ]
}

/** CPU time that a process has used so far. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}
