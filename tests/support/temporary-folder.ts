// Runs before each test file. Whatever the file, and the programs that it starts, make under `os.tmpdir()` is in a folder of
// its own, which goes with the file's last test: nobody has to tidy up, and nobody meets another's.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'

const outer = process.env.TMPDIR
// Three letters: a socket's path may have 107 bytes, and some are deep.
const folder = mkdtempSync(join(tmpdir(), 'f'))
// As /tmp is: a sandbox's root is another user outside, and walks to its files through here.
chmodSync(folder, 0o1777)
process.env.TMPDIR = folder
// For the programs that tests start, not for the test runner, which would write there after the end of the run: a gateway starts
// in a third of the CPU time.
if (process.env.COPPICE_TEST_SHARED) process.env.NODE_COMPILE_CACHE = join(process.env.COPPICE_TEST_SHARED, 'compiled')

// Hooks run in reverse order: this one after those of the file.
afterAll(() => {
  if (outer === undefined) delete process.env.TMPDIR
  else process.env.TMPDIR = outer
  // Throws where something is still mounted there, which is a leak.
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
})
