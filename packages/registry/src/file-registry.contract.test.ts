import { describeStore } from './contract.ts'
import { fileFixture } from './file-fixture.ts'

describeStore('one file per entry', fileFixture)
