/** Session protocol versions that this build speaks, newest first. The gateway picks the newest that both sides know. */
export const SESSION_VERSIONS = [1] as const

/** Milliseconds without any sign of life after which a link is dead and is cut. Contract: noticed within 15 s. */
export const DEFAULT_LEASE_MS = 12_000

/** Milliseconds that an in-flight call waits for the next session before it fails typed. */
export const DEFAULT_BOUND_MS = 30_000

/** Longest first line of a session, either way, in bytes. */
export const MAX_HELLO_BYTES = 4096

/** Milliseconds that either side has for its first line. */
export const HELLO_TIMEOUT_MS = 5_000

/** Per-stream receive window, bytes. It alone bounds what one stalled reader can hold back. */
export const STREAM_WINDOW_BYTES = 256 * 1024

/**
 * Connection receive window, bytes. Larger than all stream windows together, so that stalled readers (500 × 256 KiB is
 * tested) never take the window of a stream that moves.
 */
export const CONNECTION_WINDOW_BYTES = 1024 * 1024 * 1024

/** Milliseconds between heartbeat frames on a stream that has nothing else to say. */
export const HEARTBEAT_MS = 5_000

/**
 * Options for both ends of a session. Node's defaults end a session after about 1,000 cancelled streams
 * (`streamResetBurst`) or between 300 and 600 stalled readers (`maxSessionMemory`, in MB).
 */
export const HTTP2_OPTIONS = {
  maxSessionMemory: 1024,
  streamResetBurst: 1_000_000,
  streamResetRate: 1_000_000,
  maxSettings: 64,
  settings: {
    initialWindowSize: STREAM_WINDOW_BYTES,
    maxConcurrentStreams: 100_000,
    maxFrameSize: 64 * 1024,
    enablePush: false,
  },
} as const
