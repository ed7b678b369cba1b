/** What bounds one sandbox's connections. */
export interface EgressLimits {
  /** Connections at one time, those that are being made included. */
  maxConnections: number
  /** Names that are being looked up at one time. */
  maxNames: number
  /** To resolve and again to reach an address, milliseconds. */
  connectMs: number
  /** For the head of a request, a ClientHello, or the supervisor's answer to a tunnel, milliseconds. */
  firstBytesMs: number
  /** Without a byte either way, milliseconds. */
  idleMs: number
  /** The same once one side has ended, milliseconds. */
  halfOpenMs: number
}

/** What is not configured. Slow heads are the cheapest attack; half-closed connections are mostly forgotten ones. */
export const DEFAULT_LIMITS = { maxNames: 256, firstBytesMs: 10_000, halfOpenMs: 60_000 } as const

/** Bytes that all connections of one sandbox may have waiting for their readers, if they all wait. */
const AHEAD_TOTAL_BYTES = 16 * 1024 * 1024
const AHEAD_MAX_BYTES = 256 * 1024
const AHEAD_MIN_BYTES = 32 * 1024

/** Bytes that may wait on one connection when so many are open. At full speed 256 KiB keep both sides busy. */
export function aheadBytes(connections: number): number {
  return Math.max(AHEAD_MIN_BYTES, Math.min(AHEAD_MAX_BYTES, AHEAD_TOTAL_BYTES / Math.max(1, connections)))
}
