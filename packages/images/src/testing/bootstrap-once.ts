/** For tests that kill it: makes the base image. Arguments: store, cache folder. One line of percent for each event. */
import { writeSync } from 'node:fs'
import { Progress } from '@coppice/protocol/wire'
import { bootstrap } from '../bootstrap/bootstrap.ts'
import { ImageStore } from '../image-store.ts'

const [dir = '', cacheDir = ''] = process.argv.slice(2)
const store = await ImageStore.open(dir)
await bootstrap({ store, cacheDir }, new Progress({ onEvent: ({ done }) => writeSync(1, `${done}\n`) }))
