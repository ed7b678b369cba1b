// A build step that opens 20 files for each job at the same time. Arguments: a folder, and what it exits with when it cannot.
import { openSync } from 'node:fs'
import { join } from 'node:path'

const [folder = '', failure = '1'] = process.argv.slice(2)
const jobs = Number(process.env.CARGO_BUILD_JOBS ?? 8)
console.log(`jobs=${jobs} wrapper=${process.env.RUSTC_WRAPPER}`)
try {
  for (let at = 0; at < jobs * 20; at++) openSync(join(folder, `part-${at}`), 'w')
} catch (error) {
  console.error(`failed: ${error.message}`)
  process.exit(Number(failure))
}
