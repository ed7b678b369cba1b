import type { Reporter, TestCase } from 'vitest/node'

/** Prints why a test failed that passed when it was tried once more: else nobody could find the defect. */
export class SecondTry implements Reporter {
  onTestCaseResult(test: TestCase): void {
    if (!test.diagnostic()?.flaky) return
    const reasons = (test.result().errors ?? []).map(({ message, stack }) => stack ?? message)
    process.stdout.write(`passed when it was tried again: ${test.fullName}\n${reasons.join('\n')}\n`)
  }
}
