import { readFileSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { pathsFromEnv } from '../paths.ts'
import { startSupervisor } from '../supervisor.ts'
import { zodValidators } from './validators.ts'

// A supervisor as a process of its own, as main.ts starts it, but with validators that need no bundle.
// Tests kill it, and Node keeps what it has compiled when a process ends in order.
flushCompileCache()
const paths = pathsFromEnv(process.env)
const log = (message: string) => process.stderr.write(`${message}\n`)
const config = JSON.parse(readFileSync(paths.config, 'utf8'))
const supervisor = await startSupervisor({ config, paths, validators: zodValidators, log })
process.on('SIGTERM', () => void supervisor.close(2_000).then(() => process.exit(0)))
