import { closeSync, openSync, readSync } from 'node:fs'

/**
 * `count` bytes from the kernel's generator. Stands in for `node:crypto` in the bundle: the SDK needs nothing else of it, and
 * loading it costs a tenth of a start.
 */
export function randomBytes(count: number): Buffer {
  const bytes = Buffer.alloc(count)
  const source = openSync('/dev/urandom', 'r')
  try {
    for (let at = 0; at < count; ) at += readSync(source, bytes, at, count - at, null)
  } finally {
    closeSync(source)
  }
  return bytes
}
