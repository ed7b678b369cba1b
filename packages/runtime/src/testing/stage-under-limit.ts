/** Stages a bundle in a process whose limits were set before. Argument: the folder. Says as JSON the error, or "done". */
import { CoppiceError } from '@coppice/protocol/wire'
import { stageRuntime } from '../stage.ts'

const [cacheDir = ''] = process.argv.slice(2)
const said = await stageRuntime({ cacheDir }).then(
  () => 'done',
  (error: unknown) => CoppiceError.from(error).reason,
)
process.stdout.write(JSON.stringify(said))
