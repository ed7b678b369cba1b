import type { CheckFinding, Report } from '../runner.ts'

const COLOURS = { error: 31, warning: 33, unverified: 36 } as const

export interface TextOptions {
  colour: boolean
  /** Also what is in order, and what was found out on the way. */
  verbose: boolean
  /** Repairs have been made already: no word about `--fix`. */
  fixed: boolean
}

/** A report for people. */
export function textReport(report: Report, { colour, verbose, fixed }: TextOptions): string {
  const lines: string[] = []
  for (const { checkId, findings, notes } of report.checks) {
    for (const finding of findings) lines.push(...describe(finding, colour))
    if (verbose) {
      if (findings.length === 0) lines.push(`ok          ${checkId}`)
      lines.push(...notes.map((note) => `            ${note}`))
    }
  }
  const findings = report.checks.flatMap((check) => check.findings)
  lines.push(summary(report.checks.length, findings, fixed))
  return lines.join('\n')
}

/** Control characters in names must not reach a terminal. */
function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ')
}

function describe({ checkId, severity, message, path, hint }: CheckFinding, colour: boolean): string[] {
  const word = severity.padEnd(10)
  const marked = colour ? `\u001b[${COLOURS[severity]}m${word}\u001b[0m` : word
  const told = path === undefined || message.includes(path) ? [] : [`            at    ${plain(path)}`]
  return [`${marked}  ${checkId}: ${plain(message)}`, ...told, `            next  ${plain(hint)}`]
}

function summary(checks: number, findings: readonly CheckFinding[], fixed: boolean): string {
  if (findings.length === 0) return `${checks} checks, nothing to say.`
  const count = (severity: CheckFinding['severity']) => findings.filter((one) => one.severity === severity).length
  const some = (number: number, word: string) => (number === 0 ? [] : [`${number} ${word}${number === 1 ? '' : 's'}`])
  const unverified = count('unverified')
  const told = [
    ...some(count('error'), 'error'),
    ...some(count('warning'), 'warning'),
    ...(unverified === 0 ? [] : [`${unverified} could not be verified`]),
  ]
  const fixable = findings.filter((one) => one.fixable).length
  const repairs = fixed || fixable === 0 ? '' : ` --fix repairs ${fixable} of them; --dry-run shows how.`
  return `${checks} checks: ${told.join(', ')}.${repairs}`
}
