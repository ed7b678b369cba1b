/**
 * Opens the directory of a registry in a process that has never seen it, and sends an `Opened`. Argument: the registry's folder.
 * Run with `--expose-gc`.
 */
import { FileRegistry } from '@coppice/registry'
import { Directory } from '../directory.ts'
import { type SandboxRecord, SandboxRecordSchema } from '../record.ts'

/** What opening it took. */
export interface Opened {
  ends: number
  ms: number
  /** Bytes in use after everything else was collected, above those before. */
  heapBytes: number
  /** Bytes of resident memory above those before, at the highest. */
  peakResidentBytes: number
}

const [place = ''] = process.argv.slice(2)
const { gc } = globalThis
gc?.()
const before = process.memoryUsage()
const start = performance.now()
const registry = await FileRegistry.open(place)
const store = registry.kind<SandboxRecord>('sandboxes', (value) => SandboxRecordSchema.parse(value))
const directory = await Directory.open(store)
const ms = performance.now() - start
const peakResidentBytes = process.resourceUsage().maxRSS * 1024 - before.rss
gc?.()
const heapBytes = process.memoryUsage().heapUsed - before.heapUsed
const opened: Opened = { ends: directory.endCount, ms, heapBytes, peakResidentBytes }
process.send?.(opened)
process.disconnect?.()
