import { z } from 'zod'
import { GatewayStatusSchema } from '../sandbox.ts'
import type { Route } from './route.ts'

/** The gateway itself. */
export const gatewayRoutes = [
  {
    id: 'health',
    method: 'GET',
    path: '/healthz',
    summary: 'Is a gateway here.',
    answer: z.object({ ok: z.literal(true), version: z.string() }),
    open: true,
  },
  {
    id: 'status',
    method: 'GET',
    path: '/v1/status',
    summary: 'The gateway, its drivers and counts.',
    answer: GatewayStatusSchema,
  },
  {
    id: 'shutdown',
    method: 'POST',
    path: '/v1/shutdown',
    summary: 'End the gateway. Sandboxes go on.',
    answer: 'none',
  },
] as const satisfies readonly Route[]
