import { encodeHeader, paddedSize } from '../tar/header.ts'

/** The entry by which a layer deletes `path`, a path below its root as bytes. */
export function whiteoutEntry(path: Buffer): Buffer {
  const slash = path.lastIndexOf(0x2f)
  return entry(Buffer.concat([path.subarray(0, slash + 1), Buffer.from('.wh.'), path.subarray(slash + 1)]))
}

/** The entry by which nothing below a layer's folder `path` shows through. */
export function opaqueEntry(path: Buffer): Buffer {
  return entry(Buffer.concat([path, Buffer.from('/.wh..wh..opq')]))
}

/** An empty file. Its name is in a pax header, where it may have any length and any bytes. */
function entry(name: Buffer): Buffer {
  const record = paxRecord('path', name)
  const pax = encodeHeader({ name: 'PaxHeaders/removal', type: 'x', size: record.length })
  const padding = Buffer.alloc(paddedSize(record.length) - record.length)
  return Buffer.concat([pax, record, padding, encodeHeader({ name: '.wh.removal', type: '0', size: 0 })])
}

/** `LENGTH KEY=VALUE\n`, where the length counts its own digits. */
function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.byteLength(key) + value.length + 3
  let length = rest + 1
  while (String(length).length + rest !== length) length = String(length).length + rest
  return Buffer.concat([Buffer.from(`${length} ${key}=`), value, Buffer.from('\n')])
}
