/** Seconds without a byte after which a transfer has stalled, unless `COPPICE_TRANSFER_STALL_SECS` says otherwise. */
const DEFAULT_STALL_SECS = 120

/** Milliseconds without progress that a transfer may have. There is no limit on its total time. */
export function transferStallMs(env: Record<string, string | undefined> = process.env): number {
  const seconds = Number(env.COPPICE_TRANSFER_STALL_SECS)
  return (seconds > 0 ? seconds : DEFAULT_STALL_SECS) * 1000
}
