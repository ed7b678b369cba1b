/**
 * Does one thing with a store, in a process whose limits were set before. Arguments: what, the store's folder, an archive or
 * the name of an image. Says as JSON what error it ended with, or "done"; for `run` what limit its program had.
 */
import { createReadStream } from 'node:fs'
import { CoppiceError, Progress } from '@coppice/protocol/wire'
import { bootstrap } from '../bootstrap/bootstrap.ts'
import { run } from '../host/run.ts'
import { ImageStore } from '../image-store.ts'

const [what = '', place = '', subject = ''] = process.argv.slice(2)
const progress = Progress.none()
const store = await ImageStore.open(place)
const paths: Record<string, () => Promise<unknown>> = {
  import: () => store.import(subject, { name: 'imported' }, progress),
  'import-stream': () => store.importStream(createReadStream(subject), { name: 'streamed' }, progress),
  pull: () => store.import('localhost:1/nothing/here:1', {}, progress),
  unpack: async () => store.unpack(await store.resolve(subject), { uidBase: 700_000 }, progress),
  bootstrap: () => bootstrap({ store, cacheDir: `${place}-cache` }, progress),
  run: async () => (await run(['sh', '-c', 'ulimit -Sn >&2'], {}, progress)).stderr.trim(),
}
const said = await (paths[what]?.() ?? Promise.reject(new Error(`no path ${what}`))).then(
  (value) => (what === 'run' ? value : 'done'),
  (error: unknown) => CoppiceError.from(error).reason,
)
process.stdout.write(JSON.stringify(said))
