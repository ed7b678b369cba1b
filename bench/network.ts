import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Sandbox } from '@coppice/sdk'
import { residentBytes } from '../tests/support/host.ts'
import type { World } from '../tests/support/world.ts'
import { type Figure, mib, ms, quantile, rate } from './figures.ts'

const run = promisify(execFile)
const GiB = 1024 ** 3
const MiB = 1024 ** 2

const folder = join(import.meta.dirname, 'network')
/** The Node that every sandbox has: the client runs on the same one inside and outside. */
const NODE = ['/.coppice/ld.so', '--library-path', '/.coppice/lib', '/.coppice/coppice-supervisor']
const CLIENT = '/root/client.ts'

type Client = (what: string, amount: number) => Promise<{ milliseconds: number; samples: number[] }>

/** What the way through the session costs, beside the same program and server without it. */
export async function network(world: World): Promise<Figure[]> {
  const server = spawn(process.execPath, [join(folder, 'server.ts')], { stdio: ['ignore', 'pipe', 'inherit'] })
  const port = String(((await once(server.stdout, 'data')) as [Buffer])[0]).trim()
  const sandbox = await world.create({ cpus: 2, network: { mode: 'allow', allow: [`127.0.0.1:${port}`] } })
  await sandbox.files.write(CLIENT, readFileSync(join(folder, 'client.ts')))
  const direct: Client = async (what, amount) =>
    JSON.parse((await run(process.execPath, [join(folder, 'client.ts'), '127.0.0.1', port, what, `${amount}`])).stdout)
  const through: Client = async (what, amount) => {
    const result = await sandbox.exec([...NODE, CLIENT, '127.0.0.1', port, what, `${amount}`])
    if (result.exitCode !== 0) throw new Error(result.stderr)
    return JSON.parse(result.stdout)
  }
  try {
    // Before anything else: a gateway that has moved much has memory to spare that it does not give back.
    const memory = await held(world, sandbox, port)
    return [
      await download(through, direct),
      await added('a new connection', 'connect', 2, through, direct),
      await added('a kept-alive request', 'request', 0.5, through, direct),
      memory,
    ]
  } finally {
    server.kill()
    await sandbox.remove()
  }
}

async function download(through: Client, direct: Client): Promise<Figure> {
  await through('download', 256 * MiB)
  const own = (await through('download', 2 * GiB)).milliseconds
  const rival = (await direct('download', 2 * GiB)).milliseconds
  const speed = (2 * GiB) / 1e6 / (own / 1000)
  return {
    name: '2 GiB download through the session',
    value: rate(2 * GiB, own),
    rival: `${rate(2 * GiB, rival)} without it: ${((rival / own) * 100).toFixed(0)} %`,
    target: '≥ 250 MB/s, or ≥ 70 %',
    met: speed >= 250 || rival / own >= 0.7,
  }
}

async function added(name: string, what: string, limit: number, through: Client, direct: Client): Promise<Figure> {
  const own = quantile((await through(what, 500)).samples, 0.5)
  const rival = quantile((await direct(what, 500)).samples, 0.5)
  return {
    name: `added to ${name}, p50`,
    value: ms(own - rival),
    rival: `${ms(own)} against ${ms(rival)} without the session`,
    target: `≤ ${limit} ms`,
    met: own - rival <= limit,
  }
}

async function held(world: World, sandbox: Sandbox, port: string): Promise<Figure> {
  const before = residentBytes(world.gateway.pid)
  const exec = await sandbox.spawn([...NODE, CLIENT, '127.0.0.1', port, 'hold', '500'], { stdin: 'stream' })
  let said = ''
  for await (const chunk of exec.output) {
    if ('bytes' in chunk) said += chunk.bytes.toString()
    if (said.includes('\n')) break
  }
  if (!said.includes('"held":500')) throw new Error(`500 connections were not held: ${said}`)
  const grown = residentBytes(world.gateway.pid) - before
  await sandbox.kill(exec.id, 'KILL')
  return {
    name: 'gateway with 500 open connections',
    value: `+${mib(grown)}`,
    target: '≤ 40 MiB more',
    met: grown <= 40 * MiB,
  }
}
