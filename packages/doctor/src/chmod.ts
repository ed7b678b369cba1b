import { constants } from 'node:fs'
import { open } from 'node:fs/promises'

/** Changes the mode of a file or folder itself: a link at its place is refused, not followed. */
export async function chmodFile(path: string, mode: number): Promise<void> {
  await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  await file.chmod(mode)
}
