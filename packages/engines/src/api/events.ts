import type { Progress } from '@coppice/protocol/wire'
import type { Dialect } from '../dialect.ts'
import type { Calls } from './calls.ts'
import type { EngineEvent } from './types.ts'

export interface EventQuery {
  /** Id or name of one container. */
  container?: string
  /** Unix milliseconds: what came before, as far as the engine remembers it, is told first. */
  since?: number
  /** False: only what has been; the stream ends there. */
  follow: boolean
}

/** Podman's own names that shine through its Docker API, as Docker has them. */
const ACTIONS: Record<string, string> = { died: 'die', remove: 'destroy', stop: 'stop' }

const HISTORY: Record<Dialect['eventHistory'], () => Record<string, string>> = {
  until: () => ({ until: seconds(Date.now()) }),
  'no-stream': () => ({ stream: 'false' }),
}

/** Events about containers, everybody's. */
export async function* events(calls: Calls, query: EventQuery, progress: Progress): AsyncGenerator<EngineEvent> {
  const filters = {
    type: ['container'],
    ...(query.container !== undefined && { container: [query.container] }),
  }
  const parameters = {
    filters: JSON.stringify(filters),
    since: query.since === undefined ? undefined : seconds(query.since),
    ...(query.follow ? {} : HISTORY[calls.transport.dialect.eventHistory]()),
  }
  for await (const line of calls.lines({ method: 'GET', path: '/events', query: parameters, timeoutMs: 0 }, progress)) {
    const event = toEvent(line)
    if (event) yield event
  }
}

function seconds(milliseconds: number): string {
  return (milliseconds / 1000).toFixed(3)
}

function toEvent(line: Record<string, unknown>): EngineEvent | undefined {
  const { Type, Action, Actor, time, timeNano } = line as {
    Type?: string
    Action?: string
    Actor?: { ID?: string; Attributes?: Record<string, unknown> }
    time?: unknown
    timeNano?: unknown
  }
  if (typeof Action !== 'string' || typeof Actor?.ID !== 'string') return undefined
  return {
    type: typeof Type === 'string' ? Type : 'container',
    action: ACTIONS[Action] ?? Action,
    id: Actor.ID,
    attributes: texts(Actor.Attributes),
    at: finite(timeNano) > 0 ? Math.floor(finite(timeNano) / 1e6) : finite(time) * 1000,
  }
}

function finite(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : 0
}

function texts(members: unknown): Record<string, string> {
  if (members === null || typeof members !== 'object') return {}
  return Object.fromEntries(
    Object.entries(members).filter((pair): pair is [string, string] => typeof pair[1] === 'string'),
  )
}
