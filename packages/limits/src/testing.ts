/** For tests of others: processes with limits of their own. */
export { type Limits, obstacle, runLimited } from './testing/run-limited.ts'
