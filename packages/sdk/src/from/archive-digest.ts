import { open } from 'node:fs/promises'
import { Worker } from 'node:worker_threads'
import { ARCHIVE_TAIL_BYTES, type ProgressEvent } from '@coppice/protocol/wire'
import { abortError } from '../cancellation.ts'

/** A program and not a file: the SDK may be bundled into one. Says how far it is each 32 MiB, and the digest in the end. */
const HASH_FILE = `
const { closeSync, openSync, readSync } = require('node:fs')
const { createHash } = require('node:crypto')
const { parentPort, workerData: { path, size } } = require('node:worker_threads')
const hash = createHash('sha256')
const buffer = Buffer.allocUnsafe(1024 * 1024)
const file = openSync(path, 'r')
let at = 0
while (at < size) {
  const bytes = readSync(file, buffer, 0, Math.min(buffer.length, size - at), at)
  if (bytes === 0) break
  hash.update(buffer.subarray(0, bytes))
  at += bytes
  if (at % (32 * 1024 * 1024) === 0) parentPort.postMessage({ done: at })
}
closeSync(file)
parentPort.postMessage({ done: at, digest: at === size ? 'sha256:' + hash.digest('hex') : undefined })`

interface FromThread {
  done: number
  digest?: string
}

/** Hex sha256 of the last bytes of a file of `size` bytes, see `ArchivePrint`. Undefined when the file is not as long any more. */
export async function tailOf(path: string, size: number): Promise<string | undefined> {
  const length = Math.min(ARCHIVE_TAIL_BYTES, size)
  const file = await open(path, 'r')
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, size - length)
    return bytesRead === length
      ? process.getBuiltinModule('node:crypto').createHash('sha256').update(buffer).digest('hex')
      : undefined
  } finally {
    await file.close()
  }
}

/**
 * `sha256:` of the first `size` bytes of a file, computed in a thread of its own: who waits for it may have other things to do.
 * Undefined when it has fewer.
 */
export function digestOf(
  path: string,
  size: number,
  {
    onProgress,
    signal,
  }: { onProgress?: ((event: ProgressEvent) => void) | undefined; signal?: AbortSignal | undefined },
): Promise<string | undefined> {
  const result = Promise.withResolvers<string | undefined>()
  if (signal?.aborted) return Promise.reject(abortError(signal))
  const thread = new Worker(HASH_FILE, { eval: true, execArgv: [], workerData: { path, size } })
  const stop = () => result.reject(abortError(signal as AbortSignal))
  signal?.addEventListener('abort', stop, { once: true })
  thread.on('message', ({ done, digest }: FromThread) => {
    onProgress?.({ message: 'Comparing the archive', done, total: size, unit: 'bytes' })
    if (digest !== undefined) result.resolve(digest)
  })
  thread.on('error', result.reject)
  thread.on('exit', () => result.resolve(undefined))
  return result.promise.finally(() => {
    signal?.removeEventListener('abort', stop)
    void thread.terminate()
  })
}
