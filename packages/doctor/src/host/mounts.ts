import { readFile } from 'node:fs/promises'

/** One line of `/proc/self/mountinfo`. */
export interface Mount {
  /** Where, absolute. */
  point: string
  type: string
  source: string
  /** Options of the mount, then those of the file system. */
  options: string[]
}

/** Everything that is mounted in this mount namespace, in the order in which it was. */
export async function mounts(): Promise<Mount[]> {
  return parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8'))
}

/** Lines that are none are left out. */
export function parseMountinfo(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [before = '', after] = line.split(' - ')
    if (after === undefined) return []
    const [type = '', source = '', options = ''] = after.split(' ')
    const fields = before.split(' ')
    return [
      {
        point: unescaped(fields[4] ?? ''),
        type,
        source: unescaped(source),
        options: [...(fields[5] ?? '').split(','), ...options.split(',')],
      },
    ]
  })
}

/** The mount that a path lies on. */
export function mountOf(path: string, all: readonly Mount[]): Mount | undefined {
  return all
    .filter(({ point }) => isWithin(path, point))
    .reduce<Mount | undefined>(
      (best, mount) => (best && best.point.length > mount.point.length ? best : mount),
      undefined,
    )
}

/** True for a folder and everything below it. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`)
}

/** mountinfo writes space, tab, newline and backslash as three octal digits. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
}
