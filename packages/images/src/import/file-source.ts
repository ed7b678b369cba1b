import { badArchive } from '../faults.ts'
import type { BlobId } from '../store/blob-id.ts'
import { MAX_JSON_BYTES } from '../store/blobs.ts'
import { hexOf } from '../store/digest.ts'
import type { Intake } from '../store/intake.ts'
import type { ByteProgress } from './byte-progress.ts'

/** The files of an image as somebody else wrote them: a folder, an archive, a stream that was drained. Names are relative. */
export interface FileSource {
  /** Its files are in the store's scratch folder, and need no further room to be blobs. */
  spooled: boolean
  /** Bytes of one of its files, or undefined when it has no such file. */
  size(name: string): Promise<number | undefined>
  /** A file as a whole, which the caller knows to be small. */
  read(name: string): Promise<Buffer>
  /** The first bytes of a file, at most `bytes` of them. */
  start(name: string, bytes: number): Promise<Buffer>
  /** The digest of a file, which costs reading it. */
  identify(name: string): Promise<BlobId>
  /**
   * Makes one of its files a blob of the store, unless that has it. Throws `invalid_argument/digest_mismatch`,
   * `size_mismatch`. The counter gets the file's size in either case.
   */
  intoStore(name: string, id: BlobId, intake: Intake, counter: ByteProgress): Promise<void>
  /** Removes what it keeps in scratch files. */
  close(): Promise<void>
}

/** The name of a blob in a layout. Throws for anything but a sha256 digest, so that no name can lead out. */
export function blobName(digest: string): string {
  return `blobs/sha256/${hexOf(digest)}`
}

/** A small file as a whole. Throws `invalid_argument/layout_incomplete`, `malformed_image` for one that is not small. */
export async function readSmall(source: FileSource, name: string): Promise<Buffer> {
  const size = await source.size(name)
  if (size === undefined) throw missing(name)
  if (size > MAX_JSON_BYTES)
    throw badArchive('malformed_image', `${name} of the image has ${size} bytes, which is too large.`)
  return source.read(name)
}

/** A part of the image that is not there. */
export function missing(name: string) {
  return badArchive('layout_incomplete', `The image lacks ${name}.`, { name })
}
