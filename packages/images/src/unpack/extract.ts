import { createHash } from 'node:crypto'
import { chown, mkdir } from 'node:fs/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import { throwAway } from '../bulk/garbage.ts'
import type { Job } from '../bulk/job.ts'
import { decompressed, MAGIC_BYTES, recogniseCompression } from '../compression.ts'
import { diskFull } from '../faults.ts'
import { run } from '../host/run.ts'
import { ByteProgress } from '../import/byte-progress.ts'
import { checkUnpackedSize } from '../import/unpacked-size.ts'
import type { BlobId } from '../store/blob-id.ts'
import { BlobStore } from '../store/blobs.ts'
import { hexOf } from '../store/digest.ts'
import { type LayerRemovals, LayerRules } from '../tar/layer-rules.ts'
import { TarScanner } from '../tar/scanner.ts'
import { UserNamespace } from './user-namespace.ts'

/**
 * It dies with this process, so that nobody writes where the next process sweeps. Attributes: `trusted.*` is overlayfs' own
 * language and must never come from an archive.
 */
const TAR = [
  ...[
    'setpriv',
    '--pdeathsig=KILL',
    '--',
    'tar',
    '-x',
    '-f',
    '-',
    '--numeric-owner',
    '--same-owner',
    '--preserve-permissions',
    '--delay-directory-restore',
  ],
  ...[
    '--acls',
    '--xattrs',
    '--xattrs-include=user.*',
    '--xattrs-include=security.capability',
    '--xattrs-exclude=user.overlay.*',
  ],
]

export interface ExtractArgs {
  /** The layer's blob, and the folder of the store that has it. */
  layer: BlobId
  storeDir: string
  /** The folder that is made. */
  target: string
  /** Owner of everything: id N in the archive becomes `uidBase + N`. 0: as it is in the archive. */
  uidBase: number
  /** What the unpacked bytes must hash to. */
  diffId: string
  maxUnpackedBytes: number
}

/**
 * A job: unpacks one layer into a new folder and returns what it deletes. Only GNU tar touches the disk, as root of a mapped user
 * namespace that means nothing to the host, with the folder as its working directory; what it is fed has passed
 * `LayerRules`. Throws `invalid_argument` for what a layer must not hold, `digest_mismatch` for a layer that is not the one
 * the image names.
 */
export const extractJob: Job<ExtractArgs, LayerRemovals> = async (args, { progress }) => {
  const { layer, target, uidBase, diffId } = args
  const counter = new ByteProgress(`Unpacking layer ${hexOf(diffId).slice(0, 12)}`, layer.size, progress)
  const chunks = counted(await new BlobStore(args.storeDir).read(layer.digest, layer.size), counter)
  await mkdir(target, { mode: 0o755 })
  await chown(target, uidBase, uidBase)
  const rules = new LayerRules()
  const input = filtered(chunks, rules, args)
  const namespace = uidBase === 0 ? undefined : await UserNamespace.open(uidBase)
  try {
    const { status, stderr } = await run(namespace ? namespace.command(TAR) : TAR, { cwd: target, input }, progress)
    if (status !== 0) throw tarFailed(target, status, stderr)
  } finally {
    namespace?.close()
  }
  return rules.removals
}

async function* filtered(
  chunks: AsyncIterable<Buffer>,
  rules: LayerRules,
  options: ExtractArgs,
): AsyncGenerator<Buffer> {
  const scanner = new TarScanner((entry) => rules.decide(entry))
  const hash = createHash('sha256')
  let unpacked = 0
  for await (const chunk of unpack(chunks)) {
    unpacked += chunk.length
    checkUnpackedSize(unpacked, options.maxUnpackedBytes)
    hash.update(chunk)
    yield* scanner.push(chunk)
  }
  const end = scanner.finish()
  const diffId = `sha256:${hash.digest('hex')}`
  if (diffId !== options.diffId) {
    throw new CoppiceError('invalid_argument', 'digest_mismatch', 'A layer is not the one that the image names.', {
      facts: { expected: options.diffId, actual: diffId },
    })
  }
  yield end
}

/** Looks at the first bytes instead of trusting the media type. */
async function* unpack(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const iterator = chunks[Symbol.asyncIterator]()
  let start: Buffer = Buffer.alloc(0)
  let done = false
  while (!done && start.length < MAGIC_BYTES) {
    const next = await iterator.next()
    if (next.done) done = true
    else start = start.length === 0 ? next.value : Buffer.concat([start, next.value])
  }
  async function* whole() {
    if (start.length > 0) yield start
    if (!done) yield* { [Symbol.asyncIterator]: () => iterator }
  }
  yield* decompressed(whole(), recogniseCompression(start))
}

function tarFailed(target: string, status: number | string, stderr: string): CoppiceError {
  if (/No space left on device|Disk quota exceeded|Wrote only [0-9]+ of/.test(stderr)) return diskFull(target)
  const said = stderr.trim().split('\n').slice(0, 5).join('\n')
  return new CoppiceError('invalid_argument', 'layer_unpack_failed', `A layer could not be unpacked: ${said}`, {
    facts: { status, stderr },
  })
}

async function* counted(source: AsyncIterable<Buffer>, counter: ByteProgress): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    counter.add(chunk.length)
    yield chunk
    throwAway(chunk)
  }
}
