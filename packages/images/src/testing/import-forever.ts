/** For tests that kill it: imports an archive into a store again and again. Arguments: store, archive, name. */
import { writeSync } from 'node:fs'
import { Progress } from '@coppice/protocol/wire'
import { ImageStore } from '../image-store.ts'

const [dir = '', archive = '', name = ''] = process.argv.slice(2)
const store = await ImageStore.open(dir)
const progress = new Progress({ onEvent: () => writeSync(1, '.') })
for (;;) {
  await store.import(archive, { name }, progress)
  await store.remove(name)
}
