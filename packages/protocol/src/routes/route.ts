import { z } from 'zod'

/** What a body is: a schema for JSON, or raw bytes that are streamed and never held. */
export type Body = z.ZodType | 'bytes'

/** `frames`: frames.ts. `events`: lines of JSON, `ImageEvent`s. `none`: 204. */
export type Answer = z.ZodType | 'frames' | 'bytes' | 'events' | 'none'

/** One operation of the HTTP API. Server, OpenAPI document and clients are all made from these. */
export interface Route {
  id: string
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Fastify style: `:sandbox` is a sandbox's id or name. */
  path: string
  summary: string
  query?: z.ZodObject
  body?: Body
  answer: Answer
  /** The gateway only passes it on to the sandbox's supervisor, which serves the same path without `/v1/sandboxes/:sandbox`. */
  relayed?: boolean
  /** Needs no token: it tells nothing that is not public. */
  open?: boolean
}

/** Query values are strings; `1`/`true` is true, everything else that is allowed is false. */
export const flag = z.enum(['0', '1', 'true', 'false']).optional()

/** A number in a query. */
export const count = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional()

/** Path of one sandbox. */
export const SANDBOX = '/v1/sandboxes/:sandbox'
