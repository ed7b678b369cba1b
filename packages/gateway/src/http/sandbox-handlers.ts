import { CreateSandboxSchema, Progress, type ResizeSandbox, type ResolvedCreateSandbox } from '@coppice/protocol'
import type { Directory } from '../sandboxes/directory.ts'
import type { Drivers } from '../sandboxes/drivers.ts'
import type { Sandboxes } from '../sandboxes/sandboxes.ts'
import type { Config } from '../state/config.ts'
import { type Call, type Handlers, HIJACKED } from './app.ts'
import { isOn } from './input.ts'

/** Milliseconds that creating, starting or removing one sandbox may take. Unpacking a large image is part of it. */
const LIFE_CYCLE_TIMEOUT_MS = 15 * 60_000

/** Default size of a log answer, bytes, and the largest. */
const LOG_BYTES = 1024 * 1024
const MAX_LOG_BYTES = 16 * 1024 * 1024

export interface SandboxHandlerOptions {
  sandboxes: Sandboxes
  directory: Directory
  drivers: Drivers
  config: Config
}

type SandboxRoutes =
  | 'createSandbox'
  | 'listSandboxes'
  | 'inspectSandbox'
  | 'removeSandbox'
  | 'stopSandbox'
  | 'startSandbox'
  | 'resizeSandbox'
  | 'sandboxLogs'
  | 'sandboxStats'

/** The life cycle of sandboxes over HTTP. */
export function sandboxHandlers(options: SandboxHandlerOptions): Pick<Handlers, SandboxRoutes> {
  const { sandboxes, directory, drivers, config } = options
  // A client that goes away does not undo a removal, a stop or a resize that it asked for; it does undo a create.
  const untilDone = () => new Progress({ timeoutMs: LIFE_CYCLE_TIMEOUT_MS })
  const idOf = (call: Call) => call.params.sandbox ?? ''
  return {
    createSandbox: (call) => {
      const progress = new Progress({ timeoutMs: LIFE_CYCLE_TIMEOUT_MS, signal: call.signal })
      return sandboxes.create(withDefaults(call, config), progress)
    },
    listSandboxes: async (call) => {
      const wanted = [call.query.label ?? []].flat().map(String)
      const records = isOn(call.query.all) ? await directory.all() : directory.existing()
      const matching = records.filter((record) => wanted.every((label) => hasLabel(record.labels, label)))
      return { sandboxes: matching.map((record) => sandboxes.info(record)), skipped: directory.skipped }
    },
    inspectSandbox: async (call) => sandboxes.inspect(await directory.findWhole(idOf(call))),
    removeSandbox: (call) => sandboxes.remove(idOf(call), untilDone()),
    stopSandbox: (call) => sandboxes.stop(idOf(call), (call.body as { graceMs: number }).graceMs, untilDone()),
    startSandbox: (call) => sandboxes.start(idOf(call), untilDone()),
    resizeSandbox: (call) => sandboxes.resize(idOf(call), call.body as ResizeSandbox, untilDone()),
    sandboxLogs: async (call) => {
      const record = directory.find(idOf(call))
      const bytes = Math.min(Number(call.query.bytes ?? LOG_BYTES), MAX_LOG_BYTES)
      const log = await drivers.byName(record.driver).logs(record.id, bytes)
      await call.reply.type('application/octet-stream').send(log)
      return HIJACKED
    },
    sandboxStats: (call) => {
      const record = directory.find(idOf(call))
      return drivers.byName(record.driver).stats(record.id)
    },
  }
}

/** `KEY` matches any value, `KEY=VALUE` that one. */
function hasLabel(labels: Record<string, string>, wanted: string): boolean {
  const at = wanted.indexOf('=')
  if (at < 0) return Object.hasOwn(labels, wanted)
  return labels[wanted.slice(0, at)] === wanted.slice(at + 1)
}

/** The configuration's defaults take the place of the protocol's where the client named none. */
function withDefaults(call: Call, config: Config): ResolvedCreateSandbox {
  const asked = (call.request.body ?? {}) as Record<string, unknown>
  return CreateSandboxSchema.parse({ ...config.defaults, ...asked })
}
