import { createHash } from 'node:crypto'
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Progress } from '@coppice/protocol/wire'

/** One file as it stands in a bundle, and as the bundle's manifest names it. */
export interface StagedFile {
  target: string
  size: number
  executable: boolean
  sha256: string
}

/** What to write: a copy of a host file, or bytes. */
export type TreeEntry = { target: string; executable: boolean } & ({ source: string } | { content: Buffer })

const CHUNK_BYTES = 1024 * 1024

/**
 * Writes the entries under `dir`, hashing exactly the bytes that are written, and syncs them: a bundle that has its final
 * name is whole, also after a power cut. Modes are 0755 and 0644, whatever the source had.
 */
export async function writeTree(dir: string, entries: TreeEntry[], progress: Progress): Promise<StagedFile[]> {
  const files: StagedFile[] = []
  const sorted = [...entries].sort((a, b) => (a.target < b.target ? -1 : 1))
  for (const entry of sorted) {
    progress.throwIfEnded()
    const path = join(dir, entry.target)
    await mkdir(dirname(path), { recursive: true, mode: 0o755 })
    await using file = await open(path, 'wx', entry.executable ? 0o755 : 0o644)
    const { size, sha256 } =
      'content' in entry ? await writeContent(file, entry.content) : await copy(file, entry.source, progress)
    await file.chmod(entry.executable ? 0o755 : 0o644)
    await file.sync()
    files.push({ target: entry.target, size, executable: entry.executable, sha256 })
  }
  return files
}

/** The bundle's name: paths, executability and contents, nothing else. */
export function treeDigest(files: StagedFile[]): string {
  const hash = createHash('sha256')
  for (const file of files) hash.update(`${file.target}\0${file.executable ? 'x' : '-'}\0${file.sha256}\n`)
  return hash.digest('hex')
}

async function writeContent(file: FileHandle, content: Buffer): Promise<{ size: number; sha256: string }> {
  await file.writeFile(content)
  return { size: content.length, sha256: createHash('sha256').update(content).digest('hex') }
}

async function copy(file: FileHandle, source: string, progress: Progress): Promise<{ size: number; sha256: string }> {
  await using input = await open(source, 'r')
  const hash = createHash('sha256')
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
  let size = 0
  for (;;) {
    const { bytesRead } = await input.read(chunk, 0, CHUNK_BYTES)
    if (bytesRead === 0) return { size, sha256: hash.digest('hex') }
    progress.throwIfEnded()
    const bytes = chunk.subarray(0, bytesRead)
    hash.update(bytes)
    await file.writeFile(bytes)
    size += bytesRead
  }
}
