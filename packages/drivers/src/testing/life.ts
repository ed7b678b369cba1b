// Leads sandboxes through their lives until it is killed: node life.ts HOME SPEC-JSON. Says when it begins.
import { Progress } from '@coppice/protocol/wire'
import type { SandboxSpec } from '../driver.ts'
import { createOciDriver } from '../oci/driver.ts'

const [home = '', json = ''] = process.argv.slice(2)
const spec = JSON.parse(json) as SandboxSpec
const driver = createOciDriver({ home })
console.log('begins')
for (;;) {
  await driver.create(spec, Progress.none())
  await driver.stop(spec.id, 100, Progress.none())
  await driver.start(spec, Progress.none())
  await driver.remove(spec.id, Progress.none())
}
