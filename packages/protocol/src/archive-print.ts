/**
 * Bytes from which an archive is remembered by its digest, and asked about before it is sent: 8 MiB. Asking is two short requests and
 * one read of the end of the file; below this, sending is over as soon.
 */
export const REMEMBERED_ARCHIVE_BYTES = 8 * 1024 * 1024

/**
 * Bytes at the end of an archive whose hash says, with its size, whether hashing all of it is worth while: 64 KiB. There are the lists
 * with the digests of an image, and the checksum of what is packed with gzip, so that another image has another end. It decides
 * nothing but that: a root file system may differ in its middle alone.
 */
export const ARCHIVE_TAIL_BYTES = 64 * 1024

/** What an archive is known by. */
export interface ArchivePrint {
  /** `sha256:` of all of its bytes. */
  digest: string
  /** Bytes of it. */
  size: number
  /** Hex sha256 of its last `ARCHIVE_TAIL_BYTES`. */
  tail: string
}
