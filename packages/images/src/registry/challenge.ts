/** One way in which a registry wants to be told who asks. */
export type Challenge = { scheme: 'basic' } | { scheme: 'bearer'; realm: string; service: string | undefined }

/**
 * Reads `WWW-Authenticate`: `Bearer realm="https://…",service="…",scope="…"`, `Basic realm="…"`, or several in a row. The
 * first Bearer wins, then Basic; undefined for anything else.
 */
export function readChallenge(header: string | undefined): Challenge | undefined {
  let basic: Challenge | undefined
  for (const { scheme, parameters } of challenges((header ?? '').slice(0, 8192))) {
    if (scheme === 'bearer') {
      const realm = parameters.get('realm')
      if (realm !== undefined) return { scheme: 'bearer', realm, service: parameters.get('service') }
    }
    if (scheme === 'basic') basic ??= { scheme: 'basic' }
  }
  return basic
}

/** A word is a parameter when `=` follows it, and begins a new challenge otherwise. */
function* challenges(header: string): Generator<{ scheme: string; parameters: Map<string, string> }> {
  let scheme: string | undefined
  let parameters = new Map<string, string>()
  for (const match of header.matchAll(/([A-Za-z0-9_-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+)))?/g)) {
    const [, word = '', quoted, plain] = match
    const value = quoted?.replaceAll(/\\(.)/g, '$1') ?? plain
    if (value !== undefined) {
      parameters.set(word.toLowerCase(), value)
      continue
    }
    if (scheme !== undefined) yield { scheme, parameters }
    scheme = word.toLowerCase()
    parameters = new Map()
  }
  if (scheme !== undefined) yield { scheme, parameters }
}
