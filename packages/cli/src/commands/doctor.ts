import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { CoppiceError } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { gatewayEntry } from '../gateway/entry.ts'

export function register(program: Command, cli: Cli): void {
  program
    .command('doctor')
    .summary('find out what is wrong here, and repair it')
    .description('Looks at this machine and the state of Coppice on it. Without --fix nothing is changed.')
    // The doctor's own program reads its options, so that it can be run without this one.
    .usage('[--fix [--yes] | --dry-run] [--only ID]… [--json] [--verbose] | --bench [--json]')
    .argument('[options...]')
    .allowUnknownOption()
    .addHelpText('after', HELP)
    .action((options: string[]) => cli.finish({ json: options.includes('--json') }, () => run(cli, options)))
}

const HELP = `
  --fix       repair what is safe; what destroys something is asked about
  --yes       with --fix: do not ask
  --dry-run   show what --fix would do, and do nothing
  --only ID   one check (repeatable)
  --json      one JSON value: {schemaVersion, ok, checksRun, findings}
  --verbose   also what is in order
  --bench     measure this machine beside the promised figures

Exit status: 0 nothing found, 1 something found, 2 it could not run.

Examples:
  coppice doctor
  coppice doctor --dry-run
  coppice doctor --fix --only legacy/containers`

async function run(cli: Cli, options: string[]): Promise<number> {
  if (options.includes('--bench')) await cli.gateway()
  const child = spawn(process.execPath, [doctorEntry(), '--home', cli.home, ...options], { stdio: 'inherit' })
  // A terminal sends Ctrl-C to both; others send it to this process alone.
  process.on('SIGINT', () => {})
  process.on('SIGTERM', (signal) => child.kill(signal))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => resolve(code ?? COULD_NOT_RUN))
  })
}

/** The doctor was killed: it found neither this nor that. */
const COULD_NOT_RUN = 2

/** The doctor's program lies beside the gateway's. @throws `internal/doctor_missing` */
function doctorEntry(): string {
  const entry = join(gatewayEntry(), '../../../doctor/src/main.ts')
  if (existsSync(entry)) return entry
  throw new CoppiceError('internal', 'doctor_missing', `The doctor's program was not found: ${entry}.`)
}
