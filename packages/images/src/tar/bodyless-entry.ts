import { encodeHeader, paddedSize } from './header.ts'

/**
 * An entry without a body: a file, or a folder. What is said of it is in a pax header, where a name may have any length and any bytes,
 * a time its nanoseconds and an id its 32 bits.
 */
export function bodylessEntry(
  entry: { type: '0' | '5'; mode?: number },
  records: Record<string, Buffer | string>,
): Buffer {
  const said = Buffer.concat(Object.entries(records).map(([key, value]) => paxRecord(key, Buffer.from(value))))
  const pax = encodeHeader({ name: 'PaxHeaders/entry', type: 'x', size: said.length })
  const padding = Buffer.alloc(paddedSize(said.length) - said.length)
  return Buffer.concat([pax, said, padding, encodeHeader({ name: 'entry', size: 0, ...entry })])
}

/** `LENGTH KEY=VALUE\n`, where the length counts its own digits. */
function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.byteLength(key) + value.length + 3
  let length = rest + 1
  while (String(length).length + rest !== length) length = String(length).length + rest
  return Buffer.concat([Buffer.from(`${length} ${key}=`), value, Buffer.from('\n')])
}
