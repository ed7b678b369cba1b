import { constants } from 'node:fs'
import { open } from 'node:fs/promises'

/** Bytes of a file of settings. */
const MAX_BYTES = 1024 * 1024

/** The members of a JSON file, or why there are none. Never waits: what is no ordinary file is not read. */
export async function readSettings(path: string): Promise<{ values: Record<string, unknown> } | { because: string }> {
  let text: string
  try {
    // Without the flag, opening a FIFO waits for a writer.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const found = await file.stat()
    if (!found.isFile()) return { because: `${path} is no file` }
    if (found.size > MAX_BYTES) return { because: `${path} is longer than ${MAX_BYTES} bytes` }
    text = await file.readFile('utf8')
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return { because: `there is no ${path}` }
    return { because: `${path} cannot be read (${code ?? message})` }
  }
  try {
    const value: unknown = JSON.parse(text)
    if (value !== null && typeof value === 'object') return { values: value as Record<string, unknown> }
  } catch {}
  return { because: `${path} is no JSON` }
}
