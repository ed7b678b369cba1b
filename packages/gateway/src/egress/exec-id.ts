/** What programs tell of themselves by their environment; anything else in its place is nobody's business. */
const EXEC_ID = /^ex-[0-9a-z]{1,40}$/

/** A claimed exec id, or null. */
export function execId(text: string | null): string | null {
  return text !== null && EXEC_ID.test(text) ? text : null
}
