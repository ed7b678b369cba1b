import { randomBytes } from 'node:crypto'
import { link, mkdir, open, rename, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { syncFolder } from '@coppice/limits'

/** Unfinished files begin like this. Whoever has the home to itself may remove them. */
export const DRAFT_PREFIX = '.draft-'

/** Makes a folder, mode 0700, and the ones above it, durably. */
export async function makeFolder(path: string): Promise<void> {
  const made = await mkdir(path, { recursive: true, mode: 0o700 })
  if (made !== undefined) await syncFolder(dirname(made))
}

/** Writes a new file of mode 0600, whole or not at all, and on the disk when it returns. EEXIST when the name is taken. */
export async function createWhole(path: string, bytes: Buffer): Promise<void> {
  await placeWhole(path, bytes, link)
}

/** The same over whatever is there. */
export async function replaceWhole(path: string, bytes: Buffer): Promise<void> {
  await placeWhole(path, bytes, rename)
}

async function placeWhole(
  path: string,
  bytes: Buffer,
  place: (from: string, to: string) => Promise<void>,
): Promise<void> {
  const draft = join(dirname(path), `${DRAFT_PREFIX}${randomBytes(8).toString('hex')}`)
  try {
    {
      await using file = await open(draft, 'wx', 0o600)
      await file.writeFile(bytes)
      await file.sync()
    }
    await place(draft, path)
    await syncFolder(dirname(path))
  } finally {
    await unlink(draft).catch(() => undefined)
  }
}
