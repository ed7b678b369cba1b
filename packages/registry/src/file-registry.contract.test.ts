import { describeKills, describeStore } from './contract.ts'
import { fileFixture } from './file-fixture.ts'

describeStore('one file per entry', fileFixture)
// Enough to see the principle at every save; file-registry.kills.system.test.ts has the other 490.
describeKills('one file per entry', fileFixture, 10)
