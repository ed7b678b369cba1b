import type { z } from 'zod'
import type { ImageInfoSchema } from '../image.ts'
import { checkpointRoutes } from './checkpoints.ts'
import { execRoutes } from './execs.ts'
import { fileRoutes } from './files.ts'
import { gatewayRoutes } from './gateway.ts'
import { imageRoutes } from './images.ts'
import { networkRoutes } from './network.ts'
import type { Route } from './route.ts'
import { sandboxRoutes } from './sandboxes.ts'

export type { Answer, Body, Route } from './route.ts'

/** Every operation of the HTTP API, in the order in which they are documented. */
export const routes = [
  ...gatewayRoutes,
  ...sandboxRoutes,
  ...networkRoutes,
  ...execRoutes,
  ...fileRoutes,
  ...checkpointRoutes,
  ...imageRoutes,
] as const satisfies readonly Route[]

export type RouteId = (typeof routes)[number]['id']

/** One line of an `events` answer. The last one is `done` or `error`. */
export type ImageEvent =
  | { event: 'progress'; message: string; done?: number; total?: number; unit?: 'bytes' | 'items' }
  /** A line of a builder's log, as it said it. */
  | { event: 'log'; line: string }
  /** `facts`: what was done besides: bytes moved, blobs that were there, the staged file. */
  | { event: 'done'; image: z.output<typeof ImageInfoSchema> | null; facts?: Record<string, unknown> }
  | { event: 'error'; error: Record<string, unknown> }
