import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'

/**
 * Opens a file in a folder that a sandbox can write: no symlink is followed in the last component, a FIFO cannot make us
 * wait, and only an ordinary file is taken. Undefined when there is none.
 */
export async function openUntrusted(path: string): Promise<FileHandle | undefined> {
  let file: FileHandle
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch {
    return undefined
  }
  if ((await file.stat()).isFile()) return file
  await file.close()
  return undefined
}

/** The last `maxBytes` of a file that a sandbox may have written; empty when there is none. */
export async function tailUntrusted(path: string, maxBytes: number): Promise<Buffer> {
  await using file = await openUntrusted(path)
  if (!file) return Buffer.alloc(0)
  const { size } = await file.stat()
  const length = Math.min(size, maxBytes)
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length)
  return buffer.subarray(0, bytesRead)
}
