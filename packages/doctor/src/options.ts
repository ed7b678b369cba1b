import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { CoppiceError, defaultHome } from '@coppice/sdk'
import type { Check } from './check.ts'
import { CHECKS } from './checks.ts'

export interface DoctorOptions {
  home: string
  checks: readonly Check[]
  fix: boolean
  dryRun: boolean
  /** Nobody is asked before something is destroyed. */
  yes: boolean
  json: boolean
  verbose: boolean
  bench: boolean
}

/** Reads a command line. @throws `invalid_argument/usage` */
export function readOptions(argv: readonly string[]): DoctorOptions {
  const { values } = parsed(argv)
  if (values.bench && (values.fix || values['dry-run'] || values.only))
    throw usage('--bench goes with nothing but --json.')
  if (values.yes && !values.fix) throw usage('--yes goes with --fix.')
  return {
    home: values.home === undefined ? defaultHome() : resolve(values.home),
    checks: values.only === undefined ? CHECKS : wanted(values.only),
    fix: values.fix === true || values['dry-run'] === true,
    dryRun: values['dry-run'] === true,
    yes: values.yes === true,
    json: values.json === true,
    verbose: values.verbose === true,
    bench: values.bench === true,
  }
}

function parsed(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        home: { type: 'string' },
        fix: { type: 'boolean' },
        yes: { type: 'boolean', short: 'y' },
        'dry-run': { type: 'boolean' },
        only: { type: 'string', multiple: true },
        json: { type: 'boolean' },
        verbose: { type: 'boolean', short: 'v' },
        bench: { type: 'boolean' },
      },
    })
  } catch (error) {
    throw usage((error as Error).message)
  }
}

function wanted(ids: readonly string[]): Check[] {
  const unknown = ids.find((id) => !CHECKS.some((check) => check.id === id))
  if (unknown !== undefined) {
    const known = CHECKS.map(({ id }) => `  ${id}`).join('\n')
    throw usage(`There is no check "${unknown}". There are:\n${known}`)
  }
  return CHECKS.filter(({ id }) => ids.includes(id))
}

function usage(message: string): CoppiceError {
  return new CoppiceError('invalid_argument', 'usage', message, { hint: 'coppice help doctor' })
}
