/** A path in a sandbox. Bytes name a path that is not UTF-8. */
export type RemotePath = string | Uint8Array

const UNRESERVED = /[A-Za-z0-9._~/-]/

/** A path as a query value: each byte that could mean something else is percent-encoded, so any bytes work. */
export function encodePath(path: RemotePath): string {
  let encoded = ''
  for (const byte of typeof path === 'string' ? Buffer.from(path) : path) {
    const character = String.fromCharCode(byte)
    encoded +=
      byte < 128 && UNRESERVED.test(character) ? character : `%${byte.toString(16).padStart(2, '0').toUpperCase()}`
  }
  return encoded
}

/** A query string with `?`, or nothing. Values are encoded; undefined ones are left out. */
export function query(values: Record<string, string | number | boolean | RemotePath | undefined>): string {
  const pairs: string[] = []
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) continue
    if (typeof value === 'boolean') pairs.push(`${name}=${value ? 1 : 0}`)
    else pairs.push(`${name}=${typeof value === 'number' ? value : encodePath(value)}`)
  }
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`
}
