import { ExecSpecSchema, MkdirSchema, MoveSchema, RemoveSchema, ResizeSchema, SignalSchema } from '@coppice/protocol'
import type { Validators } from '../validators.ts'

interface Schema {
  safeParse(value: unknown): { success: true; data: unknown } | { success: false; error: { message: string } }
}

const check = (schema: Schema) => (value: unknown) => {
  const parsed = schema.safeParse(value)
  return parsed.success ? { ok: true, value: parsed.data } : { ok: false, message: parsed.error.message }
}

/** The protocol's schemas through zod: for tests, which have no bundle with compiled ones. */
export const zodValidators = {
  execSpec: check(ExecSpecSchema),
  signal: check(SignalSchema),
  resize: check(ResizeSchema),
  mkdir: check(MkdirSchema),
  move: check(MoveSchema),
  remove: check(RemoveSchema),
} as Validators
