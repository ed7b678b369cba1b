import { CoppiceError } from '@coppice/sdk'
import { describe, expect, it } from 'vitest'
import { exitCodeOf, exitCodeOfError, exitCodeOfSignal } from './exit-codes.ts'

describe('the exit status', () => {
  it.each([
    [0, { exitCode: 0, signal: null, timedOut: false }],
    [7, { exitCode: 7, signal: null, timedOut: false }],
    [137, { exitCode: null, signal: 'SIGKILL', timedOut: false }],
    [143, { exitCode: null, signal: 'SIGTERM', timedOut: false }],
    [124, { exitCode: null, signal: 'SIGTERM', timedOut: true }],
    [124, { exitCode: 0, signal: null, timedOut: true }],
  ])('is %i for %j', (code, result) => {
    expect(exitCodeOf(result)).toBe(code)
  })

  it('is never 0 without a real exit status', () => {
    expect(exitCodeOf({ exitCode: null, signal: null, timedOut: false })).toBe(125)
    expect(exitCodeOfSignal('SIGNONSENSE')).toBe(125)
  })

  it('knows the real-time signals of Linux', () => {
    expect(exitCodeOfSignal('SIGRTMIN+3')).toBe(128 + 37)
    expect(exitCodeOfSignal('SIGRTMAX-1')).toBe(128 + 63)
  })

  it.each([
    [127, 'not_found', 'program_not_found'],
    [126, 'failed_precondition', 'not_executable'],
    [125, 'not_found', 'sandbox_not_found'],
    [125, 'unavailable', 'exec_lost'],
  ] as const)('is %i for the error %s/%s', (status, code, reason) => {
    expect(exitCodeOfError(new CoppiceError(code, reason, 'x'))).toBe(status)
  })

  it('is 128+n when this program was ended by a signal', () => {
    const facts = { signal: 'SIGTERM' }
    expect(exitCodeOfError(new CoppiceError('cancelled', 'interrupted', 'x', { facts }))).toBe(143)
  })
})
