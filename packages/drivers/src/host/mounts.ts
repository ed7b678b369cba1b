import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import { runCommand } from './command.ts'

/** Mount points at or under a folder, deepest first. */
export async function mountsUnder(folder: string): Promise<string[]> {
  const points: string[] = []
  for (const line of (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')) {
    const point = unescaped(line.split(' ')[4] ?? '')
    if (point === folder || point.startsWith(`${folder}/`)) points.push(point)
  }
  return points.sort((a, b) => b.length - a.length)
}

/** mountinfo writes space, tab, newline and backslash as three octal digits. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
}

/** Unmounts that the kernel has not finished: mount point → the end of its umount. */
const finishing = new Map<string, Promise<void>>()

/**
 * Takes everything at or under a folder out of the tree, busy or not. Returns when it is out; the kernel then goes on by itself to
 * write back the whole file system under an overlay, which takes seconds on a busy disk. Throws `unavailable/unmount_failed`.
 */
export async function unmountAll(folder: string): Promise<void> {
  for (const point of await mountsUnder(folder)) await unmount(point)
}

async function unmount(point: string): Promise<void> {
  let failed: string | undefined
  const umount = runCommand('umount', ['--lazy', point]).then(
    ({ exitCode, text }) => {
      if (exitCode !== 0) failed = text
    },
    (cause: unknown) => {
      failed = String(cause)
    },
  )
  const finished = umount.finally(() => finishing.delete(point))
  finishing.set(point, finished)
  while ((await mountsUnder(point)).length > 0) {
    if (failed !== undefined) {
      throw new CoppiceError('unavailable', 'unmount_failed', `${point} could not be unmounted.`, {
        facts: { point, detail: failed },
        hint: `umount --lazy ${point}`,
      })
    }
    await sleep(1)
  }
}

/** Waits until a mount that was there before at this point is gone for good: two overlays must not share their upper folder. */
export async function unmounted(point: string): Promise<void> {
  await finishing.get(point)
}
