import type { ChangeNetwork } from '@coppice/protocol'
import type { Egress } from '../egress/index.ts'
import type { Inbound } from '../inbound/index.ts'
import type { Directory } from '../sandboxes/directory.ts'
import type { Networks } from '../sandboxes/networks.ts'
import { type Call, type Handlers, HIJACKED } from './app.ts'
import { isOn, portOf } from './input.ts'

/** Records that one answer holds unless asked for more or less: the newest ones. */
const LOG_LIMIT = 10_000

type NetworkRoutes = 'inspectNetwork' | 'changeNetwork' | 'suggestNetwork' | 'egressLog' | 'setPreview'

export interface NetworkHandlerOptions {
  directory: Directory
  networks: Networks
  egress: Egress
  inbound: Inbound
}

/** What sandboxes may reach, what they did reach, and how they are reached, over HTTP. */
export function networkHandlers(options: NetworkHandlerOptions): Pick<Handlers, NetworkRoutes> {
  const { directory, networks, egress, inbound } = options
  const idOf = (call: Call) => call.params.sandbox ?? ''
  return {
    inspectNetwork: (call) => networks.state(idOf(call)),
    changeNetwork: (call) => networks.change(idOf(call), call.body as ChangeNetwork),
    suggestNetwork: async (call) => {
      const { id, network } = await directory.findWhole(idOf(call))
      return egress.suggest(id, network)
    },
    egressLog: async (call) => {
      const id = directory.idOf(idOf(call))
      const { denied, limit } = call.query
      const lines = egress.lines(id, { denied: isOn(denied), limit: Number(limit ?? LOG_LIMIT) })
      await call.reply.type('application/x-ndjson').send(lines)
      return HIJACKED
    },
    setPreview: async (call) => {
      const port = portOf(call.params.port ?? '')
      const asked = (call.body as { public?: boolean }).public
      let record = directory.find(idOf(call))
      if (asked !== undefined) {
        record = await directory.update(record.id, (current) => {
          const others = current.publicPorts.filter((other) => other !== port)
          return { ...current, publicPorts: asked ? [...others, port].sort((a, b) => a - b) : others }
        })
      }
      return {
        port,
        url: inbound.previewUrl(record, port, call.request.raw),
        public: record.publicPorts.includes(port),
      }
    },
  }
}
