import { CoppiceError } from '@coppice/protocol/wire'
import { expect, test } from 'vitest'
import { buildFailed } from './build-failed.ts'

const failed = (detail: string) =>
  buildFailed(new CoppiceError('failed_precondition', 'engine_failed', 'x', { facts: { detail } }), '[1/1] RUN x', [])

test.each([
  ["The command '/bin/sh -c exit 3' returned a non-zero code: 3", 3],
  ['executor failed running [/bin/sh -c echo exit code: 4; exit 5]: exit code: 5', 5],
  ['while running runtime: exit status 6', 6],
  ['failed to compute cache key: "/nope" not found', null],
])('the status of a command is in what the engine says: %s', (detail, status) => {
  expect(failed(detail).facts).toMatchObject({ status, step: '[1/1] RUN x' })
})

test.each([
  ['failed to solve with frontend dockerfile.v0: failed to create LLB definition: no such stage', 'no such stage'],
  ['failed to solve: rpc error: code = Unknown desc = failed to solve with frontend dockerfile.v0: a', 'a'],
  ['failed to compute cache key: "/nope" not found', '"/nope" not found'],
  ['failed to solve', 'failed to solve'],
  ['failed to read dockerfile: failed to solve: x', 'failed to read dockerfile: failed to solve: x'],
])('what stands around the sentence is left out: %s', (detail, sentence) => {
  expect(failed(detail).message).toBe(`The build failed at [1/1] RUN x: ${sentence}`)
})

test('a long text without a status is looked through once', () => {
  const began = performance.now()
  expect(failed(`unknown instruction: ${'exit '.repeat(12_000)}`).facts.status).toBeNull()
  // At each pair of places it would be 10 s.
  expect(performance.now() - began).toBeLessThan(1000)
})

test.each([
  'secret npm not found: not found',
  'secret npm: not found',
  'building at STEP "RUN x": resolving mountpoints for container "8": secret required but no secret with id npm found',
])('a secret that was not given is said how it is: %s', (detail) => {
  expect(failed(detail)).toMatchObject({ reason: 'build_failed', hint: expect.stringContaining('--secret id=') })
})

test('a step that wants an SSH agent is told that there is none', () => {
  expect(failed('no SSH key "" forwarded from the client')).toMatchObject({ code: 'unsupported', reason: 'build_ssh' })
})
