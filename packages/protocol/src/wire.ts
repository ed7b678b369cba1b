/**
 * The part of the protocol that loads no schema library: what the supervisor, the SDK and the CLI run with.
 * Types come from the schemas all the same (they are erased).
 */
export * from './archive-print.ts'
export * from './build-secrets.ts'
export type * from './checkpoint.ts'
export * from './errors.ts'
export type * from './exec.ts'
export type * from './files.ts'
export * from './frames.ts'
export * from './ids.ts'
export type * from './image.ts'
export * from './image-name.ts'
export * from './image-place.ts'
export type * from './network.ts'
export * from './network-constants.ts'
export * from './progress.ts'
export type { ImageEvent } from './routes/index.ts'
export type * from './sandbox.ts'
export type * from './session.ts'
export * from './session-constants.ts'
export * from './transfer-stall.ts'
