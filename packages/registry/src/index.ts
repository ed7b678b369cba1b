export { FileRegistry, type SweepResult } from './file-registry.ts'
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
} from './store.ts'
