/** For tests that kill it: unpacks an image for one range of user ids after another. Arguments: store, name, first base. */
import { writeSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { ImageStore } from '../image-store.ts'

const [dir = '', name = '', base = ''] = process.argv.slice(2)
const store = await ImageStore.open(dir)
const image = await store.resolve(name)
const progress = new Progress({ onEvent: () => writeSync(1, '.') })
for (let uidBase = Number(base); ; uidBase += 65_536) {
  const [layer = ''] = await store.unpack(image, { uidBase }, progress)
  if (uidBase !== Number(base)) await rm(dirname(layer), { recursive: true })
}
