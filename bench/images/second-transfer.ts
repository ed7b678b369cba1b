import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { ImageStore } from '@coppice/images'
import { RegistryServer, writeBigDockerArchive } from '@coppice/images/testing'
import { Progress } from '@coppice/protocol'
import { type Figure, mib } from '../figures.ts'

const MiB = 1024 ** 2
const none = Progress.none()

/** How much of an image moves again of which one small layer has changed. */
export async function secondTransfer(dir: string): Promise<Figure[]> {
  const layerBytes = [256 * MiB, 256 * MiB, 4 * MiB]
  const write = (name: string, seeds: string[]) => {
    const file = join(dir, `${name}.tar`)
    writeBigDockerArchive(file, { layers: 3, layerBytes, name: `bench-${name}:1`, seeds })
    return file
  }
  const [one, two] = [write('one', ['a', 'b', 'c']), write('two', ['a', 'b', 'd'])]
  const store = await ImageStore.open(join(dir, 'second'))
  const limit = 4 * MiB * 1.01
  const figures: Figure[] = []
  const figure = (name: string, bytes: number) =>
    figures.push({ name, value: mib(bytes), target: '≤ the layer of 4 MiB + 1 %', met: bytes <= limit })
  await store.import(one, { name: 'one' }, none)
  figure(
    'bytes of a second import, one layer changed',
    (await store.import(two, { name: 'two' }, none)).transferred.bytes,
  )
  if ((await RegistryServer.missing()) === undefined) {
    const registry = await RegistryServer.start()
    try {
      await store.push('one', `${registry.host}/app:1`, {}, none)
      const pushed = await store.push('two', `${registry.host}/app:2`, {}, none)
      figure('bytes of a second push to a registry', pushed.uploadedBytes)
      const other = await ImageStore.open(join(dir, 'other'))
      await other.import(`${registry.host}/app:1`, {}, none)
      const pulled = await other.import(`${registry.host}/app:2`, {}, none)
      figure('bytes of a second import from a registry', pulled.transferred.bytes)
    } finally {
      await registry.stop()
    }
  }
  for (const name of ['one.tar', 'two.tar', 'second', 'other'])
    rmSync(join(dir, name), { recursive: true, force: true })
  return figures
}
