import { CoppiceError, PortSchema } from '@coppice/protocol'
import type { z } from 'zod'

/** Checks what a client sent. @throws `invalid_argument/bad_request` that names the field. */
export function checked<T extends z.ZodType>(schema: T, value: unknown, what: string): z.output<T> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const field = issue?.path.join('.') ?? ''
  throw new CoppiceError(
    'invalid_argument',
    'bad_request',
    `The ${what} is not valid: ${field ? `${field}: ` : ''}${issue?.message}.`,
    {
      facts: {
        issues: parsed.error.issues.slice(0, 10).map(({ path, message }) => ({ path: path.join('.'), message })),
      },
      hint: 'GET /openapi.json describes every call.',
    },
  )
}

/** `1` and `true` are true. */
export function isOn(flag: unknown): boolean {
  return flag === '1' || flag === 'true'
}

/** A port in a path. @throws `invalid_argument/bad_request` */
export function portOf(text: string): number {
  return checked(PortSchema, text, 'port')
}
