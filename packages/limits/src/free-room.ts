import type { StatsFs } from 'node:fs'

/** What is free on a file system; undefined is what it does not say. */
export interface FreeRoom {
  bytes: number | undefined
  inodes: number | undefined
}

/** Reads it from what `statfs` gives. Some network file systems and stacked ones say 0 of 0, which is not the same as full. */
export function freeRoom({ blocks, bavail, bsize, files, ffree }: StatsFs): FreeRoom {
  return { bytes: blocks > 0 ? bavail * bsize : undefined, inodes: files > 0 ? ffree : undefined }
}
