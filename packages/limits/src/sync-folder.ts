import { open } from 'node:fs/promises'

/** Returns when every name made or removed in the folder so far is on the disk. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
