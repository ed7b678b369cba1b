/** For tests and measurements of others: registries of any size, and processes that use one. */
export { startWriter, type Writer } from './contract-processes.ts'
export { fileFixture } from './file-fixture.ts'
export { type Condition, filledId, fillKind } from './testing/fill.ts'
export type { Measured } from './testing/measure.ts'
export { measureAnew } from './testing/measure-anew.ts'
