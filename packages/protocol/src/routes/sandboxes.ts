import { z } from 'zod'
import {
  CreateSandboxSchema,
  ResizeSandboxSchema,
  ResourceUseSchema,
  SandboxInfoSchema,
  SandboxInspectionSchema,
} from '../sandbox.ts'
import { count, flag, type Route, SANDBOX } from './route.ts'

/** The life of sandboxes. */
export const sandboxRoutes = [
  {
    id: 'createSandbox',
    method: 'POST',
    path: '/v1/sandboxes',
    summary: 'Create a sandbox and start it.',
    body: CreateSandboxSchema,
    answer: SandboxInfoSchema,
  },
  {
    id: 'listSandboxes',
    method: 'GET',
    path: '/v1/sandboxes',
    summary: 'List sandboxes.',
    query: z.object({ label: z.union([z.string(), z.array(z.string())]).optional(), all: flag }),
    answer: z.object({
      sandboxes: z.array(SandboxInfoSchema),
      skipped: z.array(z.object({ file: z.string(), reason: z.string() })),
    }),
  },
  {
    id: 'inspectSandbox',
    method: 'GET',
    path: SANDBOX,
    summary: 'One sandbox; a removed one for 7 days, of the last 20,000. Asked and actual side by side.',
    answer: SandboxInspectionSchema,
  },
  {
    id: 'removeSandbox',
    method: 'DELETE',
    path: SANDBOX,
    summary: 'End a sandbox and delete its files.',
    answer: SandboxInfoSchema,
  },
  {
    id: 'stopSandbox',
    method: 'POST',
    path: `${SANDBOX}/stop`,
    summary: 'End all processes, keep the files.',
    body: z.object({ graceMs: z.int().min(0).max(600_000).default(10_000) }),
    answer: SandboxInfoSchema,
  },
  {
    id: 'startSandbox',
    method: 'POST',
    path: `${SANDBOX}/start`,
    summary: 'Start a stopped sandbox again.',
    answer: SandboxInfoSchema,
  },
  {
    id: 'resizeSandbox',
    method: 'POST',
    path: `${SANDBOX}/resize`,
    summary: 'Change limits: at once where it runs, else at the next start. All that are asked for, or none.',
    body: ResizeSandboxSchema,
    answer: SandboxInfoSchema,
  },
  {
    id: 'sandboxLogs',
    method: 'GET',
    path: `${SANDBOX}/logs`,
    summary: 'What init and supervisor have written.',
    query: z.object({ bytes: count }),
    answer: 'bytes',
  },
  {
    id: 'sandboxStats',
    method: 'GET',
    path: `${SANDBOX}/stats`,
    summary: 'Resource use now.',
    answer: ResourceUseSchema,
  },
] as const satisfies readonly Route[]
