import { createHash } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { checkUnpackedSize } from '../import/unpacked-size.ts'
import type { BlobDraft } from '../store/blob-draft.ts'
import { BLOCK } from '../tar/header.ts'
import { LayerRules } from '../tar/layer-rules.ts'
import { TarScanner } from '../tar/scanner.ts'

export interface LayerRequest {
  /** Paths without a slash in front: what lies at or below one of them is not written, nor its deletion. */
  leaveOut: readonly string[]
  maxUnpackedBytes: number
  /** What the bytes must hash to as they come, where that is known. */
  diffId: string | undefined
}

/**
 * Writes a layer as it comes, but for what is to be left out, and refuses what could not be unpacked safely. Nothing is decoded and
 * encoded again: names that are not UTF-8, attributes and sparse maps stay. Throws `invalid_argument` (`archive_…`,
 * `digest_mismatch`), `resource_exhausted/image_too_large`.
 */
export async function writeLayer(
  chunks: AsyncIterable<Buffer>,
  draft: BlobDraft,
  request: LayerRequest,
  progress: Progress,
): Promise<void> {
  const rules = new LayerRules()
  const scanner = new TarScanner((entry) => {
    if (isLeftOut(entry.name, request.leaveOut)) return 'drop'
    // Deletions and devices are left to whoever unpacks it: what is asked here is only whether that can be done.
    rules.decide(entry)
    return 'keep'
  })
  const hash = request.diffId === undefined ? undefined : createHash('sha256')
  let bytes = 0
  for await (const chunk of chunks) {
    bytes += chunk.length
    checkUnpackedSize(bytes, request.maxUnpackedBytes)
    hash?.update(chunk)
    for (const part of scanner.push(chunk)) draft.write(part)
    await turn()
    progress.throwIfEnded()
  }
  draft.write(endOf(scanner))
  const diffId = hash && `sha256:${hash.digest('hex')}`
  if (diffId !== request.diffId) {
    throw new CoppiceError('invalid_argument', 'digest_mismatch', 'The layer is not the one that was saved.', {
      facts: { expected: request.diffId, actual: diffId },
    })
  }
}

/** A layer may hold nothing at all: nothing was changed. */
function endOf(scanner: TarScanner): Buffer {
  try {
    return scanner.finish()
  } catch (error) {
    if (CoppiceError.from(error).reason !== 'archive_empty') throw error
    return Buffer.alloc(2 * BLOCK)
  }
}

const WHITEOUT = '.wh.'

function isLeftOut(name: string, leaveOut: readonly string[]): boolean {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.')
  const base = parts.pop() ?? ''
  const folder = parts.map((part) => `${part}/`).join('')
  const path = folder + (base.startsWith(WHITEOUT) ? base.slice(WHITEOUT.length) : base)
  return leaveOut.some((left) => path === left || path.startsWith(`${left}/`))
}
