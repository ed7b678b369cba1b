import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { BuildLog } from './build-log.ts'
import { writeField } from './protobuf.ts'
import { type BuildStatus, decodeStatus } from './status.ts'

/** What engines have sent for one and the same build: two steps that run something, of which the second ends with 9. */
const recorded = (name: string): Buffer[] =>
  readFileSync(join(import.meta.dirname, 'testing', name), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { id?: string; aux?: string })
    .filter(({ id }) => id === 'moby.buildkit.trace')
    .map(({ aux }) => Buffer.from(aux ?? '', 'base64'))

const shown = (messages: Buffer[]): { log: BuildLog; lines: string[] } => {
  const log = new BuildLog()
  const lines = messages.flatMap((message) => [...log.lines(decodeStatus(message) as BuildStatus)])
  return { log, lines: [...lines, ...log.rest()] }
}

for (const name of ['docker-20.10.jsonl', 'docker-26.1.jsonl']) {
  describe(`what ${name} recorded`, () => {
    const { log, lines } = shown(recorded(name))
    const of = (step: number) => lines.filter((line) => line.startsWith(`#${step} `))

    test('is shown as docker build --progress=plain shows it', () => {
      expect(of(1)).toEqual(['#1 [internal] load remote build context', expect.stringMatching(/^#1 DONE \d+\.\ds$/)])
      expect(of(4)[0]).toBe('#4 [1/3] FROM docker.io/library/busybox:1')
      expect(of(5)[0]).toBe('#5 [2/3] RUN echo to stdout; echo to stderr >&2; printf partial')
      expect(
        of(5)
          .slice(1, -1)
          .map((line) => line.replace(/^#5 \d+\.\d{3} /, ''))
          .sort(),
      ).toEqual(['partial', 'to stderr', 'to stdout'])
      expect(of(5).at(-1)).toMatch(/^#5 DONE \d+\.\ds$/)
      expect(of(6)[0]).toBe('#6 [3/3] RUN for i in $(seq 30); do echo line $i; done; exit 9')
      expect(of(6)[30]).toMatch(/^#6 \d+\.\d{3} line 30$/)
      expect(of(6).at(-1)).toMatch(/^#6 ERROR: .*exit code: 9$/)
      expect(of(6)).toHaveLength(32)
      expect(lines.every((line) => /^#[1-6] [^\n]*$/.test(line))).toBe(true)
    })

    test('names the step that failed, with its last lines', () => {
      expect(log.failed).toEqual({
        step: '[3/3] RUN for i in $(seq 30); do echo line $i; done; exit 9',
        lastLines: Array.from({ length: 20 }, (_, at) => `line ${at + 11}`),
      })
    })

    test('and damaged it is left out, never an end of everything', () => {
      for (const message of recorded(name)) {
        for (let at = 0; at < message.length; at++) {
          const damaged = Buffer.from(message)
          damaged[at] = (damaged[at] as number) ^ 0xff
          for (const bytes of [damaged, message.subarray(0, at)]) {
            const status = decodeStatus(bytes)
            if (status) expect(() => [...new BuildLog().lines(status)]).not.toThrow()
          }
        }
      }
    })
  })
}

const nothing = { vertexes: [], statuses: [], logs: [], warnings: [] }
const step = { digest: 'a', name: '[1/1] RUN x', cached: false, started: 1000, completed: undefined, error: '' }
const say = (log: BuildLog, status: Partial<BuildStatus>): string[] => [...log.lines({ ...nothing, ...status })]
const out = (text: string, stream = 1, at = 1500) => ({ vertex: 'a', at, stream, text: Buffer.from(text) })

test('lines are put together whatever the cuts, each stream for itself, and shown when they began', () => {
  const log = new BuildLog()
  say(log, { vertexes: [step] })
  expect(say(log, { logs: [out('one\ntw', 1, 1500), out('err', 2, 1600)] })).toEqual(['#1 0.500 one'])
  expect(say(log, { logs: [out('o\r\nthree', 1, 1700), out('or\n', 2, 1800)] })).toEqual([
    '#1 0.500 two',
    '#1 0.600 error',
  ])
  expect(say(log, { logs: [out(' 10%\r 50%\r100%\n', 1, 1900)] })).toEqual(['#1 0.700 100%'])
  expect(say(log, { logs: [out('unended', 1, 2000)], vertexes: [{ ...step, completed: 3500 }] })).toEqual([
    '#1 1.000 unended',
    '#1 DONE 2.5s',
  ])
})

test('a line without an end is shown in parts, and not held', () => {
  const log = new BuildLog()
  say(log, { vertexes: [step] })
  let length = 0
  for (let at = 0; at < 100; at++)
    for (const line of say(log, { logs: [out('x'.repeat(10_000))] })) length += line.replace(/^#1 0\.500 /, '').length
  expect(length).toBeGreaterThan(900_000)
})

test('a layer that is pulled is one line, when it is there', () => {
  const log = new BuildLog()
  say(log, { vertexes: [step] })
  const layer = { id: 'sha256:aa', vertex: 'a', current: 0, total: 30_430_000, started: 1000, completed: undefined }
  for (let current = 0; current < 1000; current++) expect(say(log, { statuses: [{ ...layer, current }] })).toEqual([])
  const whole = { ...layer, current: layer.total, completed: 1800 }
  expect(say(log, { statuses: [whole, whole] })).toEqual(['#1 sha256:aa 30.43MB / 30.43MB 0.8s done'])
})

test('an end is told once; cached, cancelled and failed are told apart', () => {
  const end = (change: object) => {
    const log = new BuildLog()
    const vertexes = [{ ...step, completed: 1000, ...change }]
    return { lines: [...say(log, { vertexes }), ...say(log, { vertexes })], failed: log.failed?.step }
  }
  expect(end({ cached: true })).toEqual({ lines: ['#1 [1/1] RUN x', '#1 CACHED'], failed: undefined })
  expect(end({ error: 'rpc error: context canceled' }).failed).toBeUndefined()
  expect(end({ error: 'no\nsuch thing' })).toMatchObject({
    lines: expect.arrayContaining(['#1 ERROR: no such thing']),
    failed: '[1/1] RUN x',
  })
})

test('what names a step that nobody knows is left out', () => {
  const log = new BuildLog()
  const status = { id: 'x', vertex: 'a', current: 1, total: 1, started: 1, completed: 2 }
  expect(say(log, { logs: [out('x\n')], statuses: [status], warnings: [{ vertex: 'a', text: 'w' }] })).toEqual([])
})

test('a warning is a line', () => {
  const log = new BuildLog()
  const warning = Buffer.concat([writeField(1, 'a'), writeField(2, 1), writeField(3, 'old\nsyntax')])
  say(log, { vertexes: [step] })
  expect([...log.lines(decodeStatus(writeField(4, warning)) as BuildStatus)]).toEqual(['#1 WARN: old syntax'])
})

test('whatever a build calls its steps and prints, a line of it costs no time to speak of', () => {
  const runs = [' ', '\t', '\r', '\n'].map((char) => `x${char.repeat(60_000)}x`)
  const began = performance.now()
  for (const text of runs) {
    const log = new BuildLog()
    say(log, { vertexes: [{ ...step, name: text }] })
    say(log, { logs: [out(`${text}\n`)], warnings: [{ vertex: 'a', text }] })
    say(log, { vertexes: [{ ...step, completed: 2000, error: text }] })
    expect(log.failed?.step.startsWith('x')).toBe(true)
  }
  // What looks at each place once takes some ms; at each pair of places, 10 s.
  expect(performance.now() - began).toBeLessThan(1000)
})
