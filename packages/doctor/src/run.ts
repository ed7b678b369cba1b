import { createInterface } from 'node:readline/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import { bench } from './bench/bench.ts'
import { examine } from './doctor.ts'
import type { Effect } from './effects.ts'
import { type DoctorOptions, readOptions } from './options.ts'
import { jsonReport } from './report/json.ts'
import { textReport } from './report/text.ts'

/** Exit statuses: nothing found, something found, could not run. */
const CLEAN = 0
const FINDINGS = 1
const COULD_NOT_RUN = 2

/** Reads a command line, does what it says, and returns the exit status. */
export async function runDoctor(argv: readonly string[]): Promise<number> {
  try {
    const options = readOptions(argv)
    return options.bench ? await measure(options) : await look(options)
  } catch (error) {
    const failure = CoppiceError.from(error)
    if (argv.includes('--json')) print(JSON.stringify({ error: failure.toBody() }, null, 2))
    if (failure.reason === 'unexpected' && error instanceof Error) say(String(error.stack))
    say(`coppice: ${failure.message} (${failure.code}/${failure.reason})${failure.hint ? `\n  ${failure.hint}` : ''}`)
    return COULD_NOT_RUN
  }
}

async function look(options: DoctorOptions): Promise<number> {
  const { json, verbose, fix, dryRun } = options
  const report = await examine(options, { consent: asker(options), onEffect: tell })
  if (json) print(JSON.stringify(jsonReport(report), null, 2))
  else print(textReport(report, { colour: process.stdout.isTTY === true, verbose, fixed: fix && !dryRun }))
  return report.checks.some(({ findings }) => findings.length > 0) ? FINDINGS : CLEAN
}

async function measure({ home, json }: DoctorOptions): Promise<number> {
  const result = await bench(home, say)
  print(json ? JSON.stringify(result.figures, null, 2) : result.table)
  return CLEAN
}

/** What destroys something is asked about on a terminal, and not done without one, unless `--yes` was given. */
function asker({ yes, json }: DoctorOptions): (sentence: string) => Promise<boolean> {
  if (yes) return async () => true
  if (json || !process.stdin.isTTY || !process.stderr.isTTY) return async () => false
  return async (sentence) => {
    const terminal = createInterface({ input: process.stdin, output: process.stderr })
    try {
      return /^y(es)?$/i.test((await terminal.question(`${sentence}? This cannot be undone. [y/N] `)).trim())
    } finally {
      terminal.close()
    }
  }
}

function tell({ result, sentence, error }: Effect): void {
  const words = { done: 'done', planned: 'would', declined: 'not done without --yes', failed: 'failed' }[result]
  say(`${words}: ${sentence}${error ? ` (${error.message})` : ''}`)
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}
