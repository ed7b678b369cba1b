import { bytesOf, numberOf, type ProtoField, readFields, textOf } from './protobuf.ts'

/** A step of a build's graph, as far as it has come. Times are Unix milliseconds with fractions. */
export interface Vertex {
  digest: string
  name: string
  cached: boolean
  started: number | undefined
  completed: number | undefined
  /** Empty: none. */
  error: string
}

/** How far a part of a step has come: a layer that is pulled, an image that is written. */
export interface VertexStatus {
  id: string
  vertex: string
  /** Bytes; 0 when they do not count. */
  current: number
  total: number
  started: number | undefined
  completed: number | undefined
}

/** Output of a step's command. */
export interface VertexLog {
  vertex: string
  at: number
  /** 1: standard output, 2: standard error. */
  stream: number
  text: Buffer
}

export interface VertexWarning {
  vertex: string
  text: string
}

/** `moby.buildkit.v1.StatusResponse`: what is new since the one before. */
export interface BuildStatus {
  vertexes: Vertex[]
  statuses: VertexStatus[]
  logs: VertexLog[]
  warnings: VertexWarning[]
}

/** Undefined for what is no such message. */
export function decodeStatus(message: Buffer): BuildStatus | undefined {
  const status: BuildStatus = { vertexes: [], statuses: [], logs: [], warnings: [] }
  try {
    for (const field of readFields(message)) {
      if (field.number === 1) status.vertexes.push(vertex(bytesOf(field)))
      else if (field.number === 2) status.statuses.push(vertexStatus(bytesOf(field)))
      else if (field.number === 3) status.logs.push(vertexLog(bytesOf(field)))
      else if (field.number === 4) status.warnings.push(vertexWarning(bytesOf(field)))
    }
  } catch (cause) {
    if (cause instanceof RangeError) return undefined
    throw cause
  }
  return status
}

function vertex(message: Buffer): Vertex {
  const made: Vertex = { digest: '', name: '', cached: false, started: undefined, completed: undefined, error: '' }
  for (const field of readFields(message)) {
    if (field.number === 1) made.digest = textOf(field)
    else if (field.number === 3) made.name = textOf(field)
    else if (field.number === 4) made.cached = numberOf(field) !== 0
    else if (field.number === 5) made.started = timeOf(field)
    else if (field.number === 6) made.completed = timeOf(field)
    else if (field.number === 7) made.error = textOf(field)
  }
  return made
}

function vertexStatus(message: Buffer): VertexStatus {
  const made: VertexStatus = { id: '', vertex: '', current: 0, total: 0, started: undefined, completed: undefined }
  for (const field of readFields(message)) {
    if (field.number === 1) made.id = textOf(field)
    else if (field.number === 2) made.vertex = textOf(field)
    else if (field.number === 4) made.current = numberOf(field)
    else if (field.number === 5) made.total = numberOf(field)
    else if (field.number === 7) made.started = timeOf(field)
    else if (field.number === 8) made.completed = timeOf(field)
  }
  return made
}

function vertexLog(message: Buffer): VertexLog {
  const made: VertexLog = { vertex: '', at: 0, stream: 0, text: Buffer.alloc(0) }
  for (const field of readFields(message)) {
    if (field.number === 1) made.vertex = textOf(field)
    else if (field.number === 2) made.at = timeOf(field)
    else if (field.number === 3) made.stream = numberOf(field)
    else if (field.number === 4) made.text = bytesOf(field)
  }
  return made
}

function vertexWarning(message: Buffer): VertexWarning {
  const made: VertexWarning = { vertex: '', text: '' }
  for (const field of readFields(message)) {
    if (field.number === 1) made.vertex = textOf(field)
    else if (field.number === 3) made.text = textOf(field)
  }
  return made
}

/** `google.protobuf.Timestamp`. */
function timeOf(field: ProtoField): number {
  let milliseconds = 0
  for (const part of readFields(bytesOf(field))) {
    if (part.number === 1) milliseconds += numberOf(part) * 1000
    else if (part.number === 2) milliseconds += numberOf(part) / 1e6
  }
  return milliseconds
}
