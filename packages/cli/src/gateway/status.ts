import { Coppice } from '@coppice/sdk'
import type { Cli } from '../cli.ts'
import { age, bytes, table } from '../table.ts'

/** Prints what the gateway says about itself. Never starts one. @throws `unavailable/gateway_not_running`. */
export async function gatewayStatus(cli: Cli, flags: { json?: boolean }): Promise<void> {
  const status = await new Coppice({ home: cli.home }).status()
  if (flags.json) {
    cli.printJson(status)
    return
  }
  const { total, running, connected } = status.sandboxes
  const rows = [
    ['url', status.url],
    ['pid', String(status.pid)],
    ['version', status.version],
    ['home', status.home],
    ['up', age(status.startedAt)],
    ['memory', bytes(status.residentBytes)],
    ['sandboxes', `${total} (${running} running, ${connected} with a session)`],
    ...status.drivers.map(({ name, available, default: chosen, detail }) => [
      `driver ${name}`,
      `${available ? (chosen ? 'default' : 'available') : 'not available'}: ${detail}`,
    ]),
  ]
  cli.print(table(['GATEWAY', ''], rows))
}
