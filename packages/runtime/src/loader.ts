import { readFile } from 'node:fs/promises'

/** Libraries that the loader is told to load into every program, as it is built. */
const PRELOAD_LIST = '/etc/ld.so.preload'

/** A file that no bundle has. Of the same length: it takes the other one's place. */
const NO_LIST = '/.coppice/.preload'

/**
 * The loader, with the one name changed in it that no flag changes. In a sandbox `/etc/ld.so.preload` is the image's: as a FIFO it would
 * keep every program of the bundle from starting, and what it lists is made for another C library.
 */
export async function bundleLoader(source: string): Promise<Buffer> {
  const bytes = await readFile(source)
  const list = Buffer.from(`${PRELOAD_LIST}\0`)
  const at = bytes.indexOf(list)
  // A loader without it is no worse than it was.
  if (at >= 0 && bytes.indexOf(list, at + 1) < 0) bytes.write(NO_LIST, at)
  return bytes
}
