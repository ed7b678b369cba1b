/**
 * Prints every figure of SPECIFICATION.md, measured now, beside what a user would otherwise pick, measured in the same run.
 * Usage: npm run bench [-- SECTION…]   Sections: registry, latency, throughput, idle, network, images, pushes
 */
import { openWorld } from '../tests/support/world.ts'
import { DockerEngine } from './docker.ts'
import { type Figure, table } from './figures.ts'
import { idle } from './idle.ts'
import { images, pushes } from './images.ts'
import { latency } from './latency.ts'
import { network } from './network.ts'
import { registry } from './registry.ts'
import { throughput } from './throughput.ts'

const sections = { registry, latency, throughput, idle, network, images, pushes }
const wanted = process.argv.slice(2)
const figures: Figure[] = []

const world = await openWorld()
const docker = await DockerEngine.start()
try {
  for (const [name, section] of Object.entries(sections)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue
    process.stderr.write(`measuring ${name}\n`)
    for (const figure of await section(world, docker)) {
      process.stderr.write(`  ${figure.name}: ${figure.value}${figure.rival ? ` (${figure.rival})` : ''}\n`)
      figures.push(figure)
    }
  }
} finally {
  await docker?.stop()
  await world.dispose()
}
process.stdout.write(`${table(figures)}\n`)
