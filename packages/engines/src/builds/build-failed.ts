import { CoppiceError } from '@coppice/protocol/wire'

/** Characters of a step in the sentence of an error; the facts have it whole. */
const STEP_SHOWN = 120

/** What BuildKit puts in front of what went wrong, once for each of its parts that it went through. */
const WRAPPERS =
  /^(?:(?:failed to solve(?: with frontend \S+)?|failed to create LLB definition|failed to build LLB|failed to compute cache key|failed to resolve dockerfile|rpc error: code = \w+ desc = ?):? ?)+(?=\S)/

/** BuildKit's words, and Podman's, for a secret that a step cannot do without. */
const NO_SECRET = /^secret \S+(?: not found)?: not found|secret required but no secret with id/

/** Lines of the log that an error brings along. */
export const LAST_LINES = 20

/** A build that ended at one of its steps, or before the first. `step`: as the builder shows it; empty when it is none. */
export function buildFailed(cause: CoppiceError, step: string, lastLines: string[]): CoppiceError {
  const detail = String(cause.facts.detail ?? cause.message)
    .trim()
    .replace(WRAPPERS, '')
  // The last one: the command, which stands before it, may speak of others.
  const [, status] = /^.*(?:returned a non-zero code|exit (?:status|code)):? (\d+)/s.exec(detail) ?? []
  const shown = step.length > STEP_SHOWN ? `${step.slice(0, STEP_SHOWN)}…` : step
  const at = shown === '' ? '' : ` at ${shown}`
  if (/^no SSH key ".*" forwarded from the client/.test(detail)) {
    return new CoppiceError('unsupported', 'build_ssh', `A build is handed no SSH agent, which it wants${at}.`, {
      facts: { step },
      hint: 'coppice image build DIR --secret id=key,src=KEY, and RUN --mount=type=secret,id=key in place of type=ssh',
      cause,
    })
  }
  return new CoppiceError('failed_precondition', 'build_failed', `The build failed${at}: ${detail}`, {
    facts: { step, status: status === undefined ? null : Number(status), lastLines },
    ...(NO_SECRET.test(detail) && { hint: 'coppice image build DIR --secret id=ID,src=FILE' }),
    cause,
  })
}
