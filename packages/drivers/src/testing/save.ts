// Saves the files of a sandbox, says so, and holds them until it is killed: node save.ts HOME ENGINE SOCKET ID.
import type { EngineKind } from '@coppice/engines'
import { Progress } from '@coppice/protocol/wire'
import { createEngineDriver } from '../engine/driver.ts'

const [home = '', engine = '', socket = '', id = ''] = process.argv.slice(2)
const env = { DOCKER_HOST: `unix://${socket}`, CONTAINER_HOST: `unix://${socket}` }
const surroundings = { env, home, uid: 0, run: async () => ({ because: 'there is no podman command' }) }
const driver = createEngineDriver({ home, engine: engine as EngineKind, surroundings })
console.log('begins')
await driver.saveFiles?.(id, Progress.none())
console.log('saved')
setInterval(() => {}, 60_000)
