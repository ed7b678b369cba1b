import { badArchive } from '../faults.ts'

/** What a blob is known by. */
export interface BlobId {
  digest: string
  /** Bytes. */
  size: number
}

/** Throws `invalid_argument/size_mismatch` or `digest_mismatch` when a blob is not the one that was expected. */
export function checkBlob(actual: BlobId, expected: Partial<BlobId>): void {
  if (expected.size !== undefined && expected.size !== actual.size) throw sizeMismatch(expected.size, actual.size)
  if (expected.digest !== undefined && expected.digest !== actual.digest) {
    throw badArchive('digest_mismatch', `A blob is not what its digest says: it is ${actual.digest}.`, {
      expected: expected.digest,
      actual: actual.digest,
    })
  }
}

/** `actual` may be only what came before it was given up. */
export function sizeMismatch(expected: number, actual: number) {
  return badArchive('size_mismatch', `A blob has ${actual} bytes instead of ${expected}.`, { expected, actual })
}
