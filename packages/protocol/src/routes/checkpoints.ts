import { z } from 'zod'
import { CheckpointInfoSchema, CreateCheckpointSchema } from '../checkpoint.ts'
import { type Route, SANDBOX } from './route.ts'

/** Saved sandboxes. */
export const checkpointRoutes = [
  {
    id: 'createCheckpoint',
    method: 'POST',
    path: `${SANDBOX}/checkpoints`,
    summary: 'Save the files of a sandbox, running or stopped. It is held still for it, and goes on.',
    body: CreateCheckpointSchema,
    answer: CheckpointInfoSchema,
  },
  {
    id: 'listCheckpoints',
    method: 'GET',
    path: '/v1/checkpoints',
    summary: 'List checkpoints.',
    answer: z.object({
      checkpoints: z.array(CheckpointInfoSchema),
      skipped: z.array(z.object({ file: z.string(), reason: z.string() })),
    }),
  },
  {
    id: 'inspectCheckpoint',
    method: 'GET',
    path: '/v1/checkpoints/:checkpoint',
    summary: 'One checkpoint, by id or name.',
    answer: CheckpointInfoSchema,
  },
  {
    id: 'removeCheckpoint',
    method: 'DELETE',
    path: '/v1/checkpoints/:checkpoint',
    summary: 'Remove a checkpoint. Sandboxes that were made from it keep their files.',
    answer: CheckpointInfoSchema,
  },
] as const satisfies readonly Route[]
