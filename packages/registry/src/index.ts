export { FileRegistry } from './file-registry.ts'
export { type InspectedKind, inspectRegistry } from './inspect.ts'
export { type RuntimeChange, type RuntimeFacts, type UpsertOptions, upsertRuntime } from './runtime-record.ts'
export type {
  Change,
  Entry,
  EntryValue,
  Listing,
  Parse,
  PutOptions,
  Registry,
  RemoveOptions,
  Skipped,
  SkipReason,
  Store,
  UpdateOptions,
} from './store.ts'
export { mayBeEntries } from './store.ts'
export type { SweepResult } from './sweep.ts'
