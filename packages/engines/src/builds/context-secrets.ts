import { randomBytes } from 'node:crypto'
import type { RequestBody } from '../http/upload.ts'
import type { BuildSecrets } from './options.ts'

const BLOCK = 512

/**
 * Secrets as Podman takes them: as files of the context, which it moves out of it before the first step. Names are of chance, so
 * that nothing of the context has them. Returns the context with them in front and the value of `secrets` that names them.
 */
export function withSecrets(context: RequestBody, secrets: BuildSecrets): { context: RequestBody; query: string } {
  const prefix = `.coppice-secret-${randomBytes(16).toString('hex')}`
  const files = [...secrets].map(([id, bytes], at) => ({ id, name: `${prefix}-${at}`, bytes }))
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (const { name, bytes } of files) yield* fileEntry(name, bytes)
    yield* context.chunks
  }
  const added = files.reduce((sum, { bytes }) => sum + BLOCK + bytes.length + paddingOf(bytes), 0)
  const { sizeBytes } = context
  return {
    context: { chunks: chunks(), ...(sizeBytes === undefined ? {} : { sizeBytes: sizeBytes + added }) },
    query: JSON.stringify(files.map(({ id, name }) => `id=${id},src=${name}`)),
  }
}

function* fileEntry(name: string, bytes: Uint8Array): Generator<Uint8Array> {
  const header = Buffer.alloc(BLOCK)
  const octal = (value: number, at: number, length: number) =>
    header.write(value.toString(8).padStart(length - 1, '0'), at, 'latin1')
  header.write(name, 0, 'latin1')
  octal(0o600, 100, 8)
  octal(0, 108, 8)
  octal(0, 116, 8)
  octal(bytes.length, 124, 12)
  octal(0, 136, 12)
  // The sum counts its own field as spaces.
  header.write('        0', 148, 'latin1')
  header.write('ustar\u000000', 257, 'latin1')
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  yield header
  yield bytes
  yield Buffer.alloc(paddingOf(bytes))
}

function paddingOf({ length }: Uint8Array): number {
  return (BLOCK - (length % BLOCK)) % BLOCK
}
