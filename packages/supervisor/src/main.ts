import * as compiled from 'coppice:validators'
import { readFileSync } from 'node:fs'
import type { SupervisorConfig } from '@coppice/protocol/wire'
import { PATH_VARIABLES, pathsFromEnv } from './paths.ts'
import { startSupervisor } from './supervisor.ts'
import type { ValidationOutcome, Validators } from './validators.ts'

/** Milliseconds between TERM and KILL for execs when the sandbox stops. The driver's own limit is longer. */
const STOP_GRACE_MS = 2_000

process.title = 'coppice-supervisor'
process.umask(0o022)

const log = (message: string) => {
  process.stderr.write(`${new Date().toISOString()} coppice-supervisor: ${message}\n`)
}

/** Ends the process: init starts a new supervisor, which finds everything in the log. */
const die = (error: unknown) => {
  log(error instanceof Error ? (error.stack ?? error.message) : String(error))
  process.exit(1)
}
process.on('uncaughtException', die)
process.on('unhandledRejection', die)

const check =
  <T>(validate: typeof compiled.execSpec) =>
  (value: unknown): ValidationOutcome<T> => {
    if (validate(value)) return { ok: true, value: value as T }
    const [error] = validate.errors ?? []
    return { ok: false, message: `${error?.instancePath || 'the body'} ${error?.message ?? 'does not fit'}` }
  }

const validators: Validators = {
  execSpec: check(compiled.execSpec),
  signal: check(compiled.signal),
  resize: check(compiled.resize),
  mkdir: check(compiled.mkdir),
  move: check(compiled.move),
  remove: check(compiled.remove),
}

const paths = pathsFromEnv(process.env)
for (const name of PATH_VARIABLES) delete process.env[name]
const config = check<SupervisorConfig>(compiled.supervisorConfig)(JSON.parse(readFileSync(paths.config, 'utf8')))
if (!config.ok) throw new Error(`${paths.config} is not valid: ${config.message}`)

const supervisor = await startSupervisor({ config: config.value, paths, validators, log })
let ending = false
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    if (ending) return
    ending = true
    log(`${signal}: ending`)
    void supervisor.close(STOP_GRACE_MS).then(() => process.exit(0), die)
  })
}
