import { bodylessEntry } from '../tar/bodyless-entry.ts'

/** The entry by which a layer deletes `path`, a path below its root as bytes. */
export function whiteoutEntry(path: Buffer): Buffer {
  const slash = path.lastIndexOf(0x2f)
  return entry(Buffer.concat([path.subarray(0, slash + 1), Buffer.from('.wh.'), path.subarray(slash + 1)]))
}

/** The entry by which nothing below a layer's folder `path` shows through. */
export function opaqueEntry(path: Buffer): Buffer {
  return entry(Buffer.concat([path, Buffer.from('/.wh..wh..opq')]))
}

/** An empty file of that name. */
function entry(path: Buffer): Buffer {
  return bodylessEntry({ type: '0' }, { path })
}
