import { CoppiceError, Progress } from '@coppice/protocol/wire'
import type { Check, CheckContext, Finding } from './check.ts'
import { finding } from './check.ts'
import { type Effect, type EffectsOptions, recordEffects } from './effects.ts'
import { errnoOf, faultOf } from './faults.ts'

/** Milliseconds that a check gets for `detect` unless it says otherwise. */
export const DETECT_LIMIT_MS = 10_000

/** Failed effects of one check that are told one by one. */
const MAX_FAILURES_TOLD = 20

/** A finding and whose it is. */
export interface CheckFinding extends Finding {
  checkId: string
}

/** One check after it has run. */
export interface CheckReport {
  checkId: string
  findings: CheckFinding[]
  notes: string[]
}

/** All of them, in the order in which the checks were given. */
export interface Report {
  checks: CheckReport[]
  /** What repairs did, in order. */
  effects: (Effect & { checkId: string })[]
}

export type Surroundings = Omit<CheckContext, 'progress' | 'note'>

/** Runs every check's `detect` at the same time, each within its own limit. Never throws because of a check. */
export function detectAll(checks: readonly Check[], around: Surroundings): Promise<CheckReport[]> {
  return Promise.all(checks.map((check) => detectOne(check, around)))
}

/** Runs one check's `detect`. */
export async function detectOne(check: Check, around: Surroundings): Promise<CheckReport> {
  const notes: string[] = []
  const limitMs = check.limitMs ?? DETECT_LIMIT_MS
  const progress = new Progress({ timeoutMs: limitMs })
  let findings: Finding[]
  try {
    findings = await progress.race(check.detect({ ...around, progress, note: (text) => void notes.push(text) }))
  } catch (error) {
    findings = [couldNotLook(error, progress, limitMs)]
  }
  return { checkId: check.id, notes, findings: findings.map((one) => ({ checkId: check.id, ...one })) }
}

export interface RepairOptions extends EffectsOptions {
  exclusive: boolean
}

/**
 * Repairs what checks found fixable, one check after the other in their order, and looks again. Earlier repairs may change what
 * later checks find, so each one that can repair looks anew just before it does.
 */
export async function repairAll(
  checks: readonly Check[],
  reports: readonly CheckReport[],
  around: Surroundings,
  options: RepairOptions,
): Promise<Report> {
  const result: Report = { checks: [...reports], effects: [] }
  let repaired = false
  for (const [index, check] of checks.entries()) {
    if (!check.repair) continue
    const before = repaired ? await detectOne(check, around) : result.checks[index]
    if (before) result.checks[index] = before
    const fixable = before?.findings.filter((one) => one.fixable) ?? []
    if (fixable.length === 0) continue
    result.checks[index] = await repairOne(check, fixable, around, options, result)
    repaired = !options.dryRun
  }
  return repaired ? lookAgain(checks, result, around) : result
}

async function repairOne(
  check: Check,
  fixable: CheckFinding[],
  around: Surroundings,
  options: RepairOptions,
  result: Report,
): Promise<CheckReport> {
  const effects = recordEffects(options)
  const { exclusive } = options
  const extra: CheckFinding[] = []
  try {
    // No limit: a repair that is cut off half-way helps nobody, and it can be stopped from outside at any time.
    await check.repair?.({ ...around, effects, exclusive, progress: Progress.none(), note: () => undefined }, fixable)
  } catch (error) {
    extra.push({ checkId: check.id, ...brokenRepair(error) })
  }
  for (const effect of effects.outcome.effects) result.effects.push({ checkId: check.id, ...effect })
  extra.push(...failures(effects.outcome.effects).map((one) => ({ checkId: check.id, ...one })))
  const after = options.dryRun ? undefined : await detectOne(check, around)
  const left = after?.findings ?? result.checks.find(({ checkId }) => checkId === check.id)?.findings ?? []
  return { checkId: check.id, notes: after?.notes ?? [], findings: [...left, ...extra] }
}

/** One repair may have done another check's work as well. Findings about failed repairs stay. */
async function lookAgain(checks: readonly Check[], result: Report, around: Surroundings): Promise<Report> {
  const failed = new Set(result.effects.filter(({ result }) => result === 'failed').map(({ checkId }) => checkId))
  const again = checks.map(async (check, index) => {
    const report = result.checks[index]
    if (!check.repair || !report || report.findings.length === 0 || failed.has(check.id)) return report
    return detectOne(check, around)
  })
  return { ...result, checks: (await Promise.all(again)).filter((report) => report !== undefined) }
}

function failures(effects: readonly Effect[]): Finding[] {
  const failed = effects.filter(({ result }) => result === 'failed')
  const told = failed.slice(0, MAX_FAILURES_TOLD).map(({ sentence, path, error }) =>
    finding('error', `Could not: ${sentence}. ${error?.message ?? ''}`.trim(), error?.hint ?? `ls -ld ${path}`, {
      path,
      fixable: true,
    }),
  )
  const more = failed.length - told.length
  const first = told[0]
  if (more > 0 && first) told.push({ ...first, message: `${more} more could not be repaired for reasons like these.` })
  return told
}

function couldNotLook(error: unknown, progress: Progress, limitMs: number): Finding {
  if (progress.signal.aborted) {
    return finding('unverified', `The check did not end within ${limitMs / 1000} s.`, 'dmesg | tail -n 20')
  }
  const path = (error as NodeJS.ErrnoException | undefined)?.path
  const fault = errnoOf(error) && path ? faultOf(error, path) : CoppiceError.from(error)
  return finding('unverified', `The check could not be made: ${fault.message}`, helpful(fault), path ? { path } : {})
}

function brokenRepair(error: unknown): Finding {
  const fault = CoppiceError.from(error)
  return finding('error', `The repair failed: ${fault.message}`, helpful(fault))
}

function helpful({ hint }: CoppiceError): string {
  return hint === undefined || /coppice doctor/.test(hint) ? 'dmesg | tail -n 20' : hint
}
