import type { CheckFinding, Report } from '../runner.ts'

/** What `--json` prints. */
export interface JsonReport {
  schemaVersion: 1
  /** True when there is no finding at all, unverified ones included. */
  ok: boolean
  checksRun: number
  findings: {
    checkId: string
    severity: CheckFinding['severity']
    message: string
    path?: string
    hint: string
    fixable: boolean
  }[]
}

/** A report for programs. */
export function jsonReport(report: Pick<Report, 'checks'>): JsonReport {
  const findings = report.checks.flatMap((check) => check.findings)
  return {
    schemaVersion: 1,
    ok: findings.length === 0,
    checksRun: report.checks.length,
    findings: findings.map(({ checkId, severity, message, path, hint, fixable }) => ({
      checkId,
      severity,
      message,
      ...(path === undefined ? {} : { path }),
      hint,
      fixable,
    })),
  }
}
