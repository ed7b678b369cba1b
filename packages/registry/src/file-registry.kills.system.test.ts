import { describeKills } from './contract.ts'
import { fileFixture } from './file-fixture.ts'

/** How many writing processes are killed. */
const KILLS = Number(process.env.COPPICE_KILL_ROUNDS ?? 500)

describeKills('one file per entry', fileFixture, KILLS)
