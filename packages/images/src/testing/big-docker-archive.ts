import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import { closeSync, openSync, writeSync } from 'node:fs'
import { BLOCK, encodeHeader, paddedSize } from '../tar/header.ts'

const CHUNK_BYTES = 1024 * 1024

export interface BigArchiveOptions {
  layers: number
  /** Of the one file that each layer holds; one size for all, or one for each. */
  layerBytes: number | number[]
  name: string
  /** Layers of equal seeds are equal. Default: all new. */
  seeds?: string[]
}

/**
 * A `docker save` archive of any size, made while it is read in constant memory: layers of one file each, of bytes that nothing can
 * pack. It is in the layout of engines before 25, `ID/layer.tar`. Returns the layers' diff ids.
 */
export function* bigDockerArchive(options: BigArchiveOptions): Generator<Buffer, string[]> {
  const diffIds: string[] = []
  const names: string[] = []
  for (let layer = 0; layer < options.layers; layer++) {
    const name = createHash('sha256').update(`${options.name} ${layer}`).digest('hex')
    const fileBytes = bytesOf(layer, options)
    const size = BLOCK + paddedSize(fileBytes) + 2 * BLOCK
    names.push(`${name}/layer.tar`)
    yield encodeHeader({ name: `${name}/`, type: '5', size: 0 })
    yield encodeHeader({ name: `${name}/layer.tar`, type: '0', size })
    const hash = createHash('sha256')
    for (const chunk of layerTar(layer, options)) {
      hash.update(chunk)
      yield chunk
    }
    diffIds.push(`sha256:${hash.digest('hex')}`)
  }
  const config = JSON.stringify({
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    created: '2026-01-01T00:00:00Z',
    config: { Cmd: ['/file-0'] },
    rootfs: { type: 'layers', diff_ids: diffIds },
    history: diffIds.map(() => ({ created: '2026-01-01T00:00:00Z' })),
  })
  const configName = `${createHash('sha256').update(config).digest('hex')}.json`
  yield entry(configName, config)
  yield entry('manifest.json', JSON.stringify([{ Config: configName, RepoTags: [options.name], Layers: names }]))
  yield Buffer.alloc(2 * BLOCK)
  return diffIds
}

/** The same as a file. */
export function writeBigDockerArchive(file: string, options: BigArchiveOptions): string[] {
  const out = openSync(file, 'w')
  try {
    const chunks = bigDockerArchive(options)
    for (;;) {
      const { done, value } = chunks.next()
      if (done) return value
      writeSync(out, value)
    }
  } finally {
    closeSync(out)
  }
}

function bytesOf(layer: number, { layerBytes }: BigArchiveOptions): number {
  return typeof layerBytes === 'number' ? layerBytes : (layerBytes[layer] ?? 0)
}

function* layerTar(layer: number, options: BigArchiveOptions): Generator<Buffer> {
  const bytes = bytesOf(layer, options)
  yield encodeHeader({ name: `file-${layer}`, type: '0', size: bytes })
  const seed = options.seeds?.[layer]
  const key = seed === undefined ? randomBytes(32) : createHash('sha256').update(seed).digest()
  const noise = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
  const zeros = Buffer.alloc(CHUNK_BYTES)
  for (let left = bytes; left > 0; left -= CHUNK_BYTES) {
    yield noise.update(zeros.subarray(0, Math.min(left, CHUNK_BYTES)))
  }
  yield Buffer.alloc(paddedSize(bytes) - bytes + 2 * BLOCK)
}

function entry(name: string, text: string): Buffer {
  const body = Buffer.from(text)
  const padding = Buffer.alloc(paddedSize(body.length) - body.length)
  return Buffer.concat([encodeHeader({ name, type: '0', size: body.length }), body, padding])
}
