import { LAST_LINES } from '../builds/build-failed.ts'
import type { BuildStatus, Vertex, VertexLog, VertexStatus, VertexWarning } from './status.ts'

/** Steps, and parts of a step, that are told apart; a Dockerfile has some dozens. What comes after that is not shown. */
const MAX_STEPS = 10_000

/** Bytes of a line of output that has not ended. A longer one is shown in parts. */
const MAX_LINE_BYTES = 64 * 1024

/** What is known of a step that has begun. */
interface Step {
  /** As it is shown: `#N`. */
  index: number
  name: string
  started: number
  /** Something was said since it was last said to have ended: an end is told once. */
  open: boolean
  /** Parts that were said to be done. */
  done: Set<string>
  /** Beginnings of lines by stream, and when they came. */
  rests: Map<number, { bytes: Buffer; at: number }>
  last: string[]
}

/** What BuildKit tells of a build, in lines as `docker build --progress=plain` has them, and at which step it failed. */
export class BuildLog {
  readonly #steps = new Map<string, Step>()
  #failed: Step | undefined

  /** The step that failed, as its line has it, and its last lines. Undefined as long as none has. */
  get failed(): { step: string; lastLines: string[] } | undefined {
    return this.#failed && { step: this.#failed.name, lastLines: this.#failed.last }
  }

  /** The lines that a message makes: what belongs to a step comes together. Parts of steps (layers, files) are told when they are done. */
  *lines(status: BuildStatus): Generator<string> {
    const said = Map.groupBy<string, VertexStatus | VertexLog | VertexWarning>(
      [...status.statuses, ...status.logs, ...status.warnings],
      ({ vertex }) => vertex,
    )
    for (const vertex of status.vertexes) {
      yield* this.#begin(vertex)
      yield* this.#said(said.get(vertex.digest))
      said.delete(vertex.digest)
      yield* this.#end(vertex)
    }
    for (const rest of said.values()) yield* this.#said(rest)
  }

  /** Lines that were never ended. */
  *rest(): Generator<string> {
    for (const step of this.#steps.values()) yield* flush(step)
  }

  *#begin({ digest, name, started }: Vertex): Generator<string> {
    const known = this.#steps.get(digest)
    if (known && started !== undefined) known.started = started
    if (known || started === undefined || this.#steps.size >= MAX_STEPS) return
    const index = this.#steps.size + 1
    const step = {
      index,
      name: oneLine(name),
      started,
      open: true,
      done: new Set<string>(),
      rests: new Map(),
      last: [],
    }
    this.#steps.set(digest, step)
    yield `#${index} ${step.name}`
  }

  *#said(said: (VertexStatus | VertexLog | VertexWarning)[] = []): Generator<string> {
    for (const one of said) {
      const step = this.#steps.get(one.vertex)
      if (!step) continue
      if ('id' in one) yield* part(step, one)
      else if ('stream' in one) yield* output(step, one)
      else yield `#${step.index} WARN: ${oneLine(one.text)}`
    }
  }

  *#end({ digest, cached, completed, error }: Vertex): Generator<string> {
    const step = this.#steps.get(digest)
    if (!step || completed === undefined) return
    yield* flush(step)
    if (!step.open && error === '') return
    step.open = false
    const cancelled = error.endsWith('context canceled')
    if (error !== '' && !cancelled) this.#failed ??= step
    if (cancelled) yield `#${step.index} CANCELED`
    else if (error !== '') yield `#${step.index} ERROR: ${oneLine(error)}`
    else if (cached) yield `#${step.index} CACHED`
    else yield `#${step.index} DONE ${seconds(completed - step.started, 1)}s`
  }
}

function* part(step: Step, { id, current, total, started, completed }: VertexStatus): Generator<string> {
  if (completed === undefined || step.done.has(id) || step.done.size >= MAX_STEPS) return
  step.done.add(id)
  step.open = true
  const size = total > 0 ? ` ${inBytes(current)} / ${inBytes(total)}` : current > 0 ? ` ${inBytes(current)}` : ''
  const took = started === undefined ? 0 : completed - started
  yield `#${step.index} ${oneLine(id)}${size}${took >= 50 ? ` ${seconds(took, 1)}s` : ''} done`
}

function* output(step: Step, { at, stream: told, text }: VertexLog): Generator<string> {
  const stream = told === 2 ? 2 : 1
  let from = 0
  for (let end = text.indexOf(10); end >= 0; end = text.indexOf(10, from)) {
    const begun = step.rests.get(stream)
    step.rests.delete(stream)
    const bytes = text.subarray(from, end)
    yield line(step, begun ? Buffer.concat([begun.bytes, bytes]) : bytes, begun?.at ?? at)
    from = end + 1
  }
  if (from === text.length) return
  const begun = step.rests.get(stream) ?? { bytes: Buffer.alloc(0), at }
  begun.bytes = Buffer.concat([begun.bytes, text.subarray(from)])
  step.rests.set(stream, begun)
  if (begun.bytes.length > MAX_LINE_BYTES) yield* flush(step)
}

function* flush(step: Step): Generator<string> {
  for (const { bytes, at } of step.rests.values()) yield line(step, bytes, at)
  step.rests.clear()
}

/** A line as it is shown. Of what a program has written over itself, the last is left. */
function line(step: Step, bytes: Buffer, at: number): string {
  let end = bytes.length
  while (end > 0 && bytes[end - 1] === 13) end--
  const text = bytes.toString('utf8', end === 0 ? 0 : bytes.lastIndexOf(13, end - 1) + 1, end)
  step.open = true
  step.last = [...step.last.slice(1 - LAST_LINES), text]
  return `#${step.index} ${seconds(at - step.started, 3)} ${text}`
}

/** Commands with here-documents have many. In one pass: texts are somebody's, and a pattern with two `\s*` takes its time. */
function oneLine(text: string): string {
  return text
    .split(/[\r\n]/)
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .join(' ')
}

function seconds(milliseconds: number, digits: number): string {
  return (Math.max(0, milliseconds) / 1000).toFixed(digits)
}

/** As Docker shows sizes: powers of ten. */
function inBytes(bytes: number): string {
  if (bytes < 1e3) return `${bytes}B`
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(2)}kB`
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(2)}MB`
  return `${(bytes / 1e9).toFixed(2)}GB`
}
