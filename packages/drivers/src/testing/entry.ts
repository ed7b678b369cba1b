// Stands in for the supervisor in tests of drivers: says that it runs, and ends when it is told to.
import { appendFileSync } from 'node:fs'

console.log(`supervisor up ${process.pid}`)
process.on('SIGTERM', () => {
  console.log('supervisor ending')
  appendFileSync(`${process.env.COPPICE_STATE_DIR ?? '/.coppice-state'}/order`, 'supervisor ending\n')
  process.exit(0)
})
setInterval(() => {}, 1_000_000)
