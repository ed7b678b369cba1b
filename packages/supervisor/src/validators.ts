import { CoppiceError, type MkdirRequest, type ResizeRequest, type ResolvedExecSpec } from '@coppice/protocol/wire'

/** A value that fits its schema, defaults filled in; or one sentence that says what does not fit. */
export type ValidationOutcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly message: string }

export type Validator<T> = (value: unknown) => ValidationOutcome<T>

/**
 * The schemas of the protocol, compiled. The supervisor is given them: in a sandbox they are code that was generated at build
 * time, so that no schema library is loaded.
 */
export interface Validators {
  readonly execSpec: Validator<ResolvedExecSpec>
  readonly signal: Validator<{ signal: string; tree: boolean }>
  readonly resize: Validator<ResizeRequest>
  readonly mkdir: Validator<MkdirRequest & { parents: boolean; mode: number }>
  readonly move: Validator<{ from: string; to: string; overwrite: boolean }>
  readonly remove: Validator<{ path: string; recursive: boolean; force: boolean }>
}

/** The value of an outcome. Throws `invalid_argument/invalid_request`. */
export function valid<T>(outcome: ValidationOutcome<T>): T {
  if (outcome.ok) return outcome.value
  throw new CoppiceError('invalid_argument', 'invalid_request', `The request is not valid: ${outcome.message}.`)
}
