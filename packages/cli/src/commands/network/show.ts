import type { NetworkState } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { bytes, oneLine, table } from '../../table.ts'

export function register(network: Command, cli: Cli): void {
  network
    .command('show')
    .summary('print what a sandbox may reach')
    .description('Print what a sandbox may reach, and counts of what it did since the gateway started.')
    .argument('<sandbox>', 'id or name')
    .option('--json', 'one JSON value')
    .action((name: string, flags: { json?: boolean }) =>
      cli.finish(flags, async () => printNetwork(cli, await (await cli.sandbox(name)).network.get(), flags)),
    )
}

/** A policy with its counts, for programs or for people. */
export function printNetwork(cli: Cli, state: NetworkState, flags: { json?: boolean }): void {
  if (flags.json) {
    cli.printJson(state)
    return
  }
  const { policy, transparent, transparentDetail, counts } = state
  const rows = [
    ['mode', MEANING[policy.mode]],
    ...policy.allow.map((rule) => ['allow', oneLine(rule, 300)]),
    ['without proxy', oneLine(transparent ? transparentDetail : `not served: ${transparentDetail}`, 200)],
    ['connections', `${counts.connections}, ${counts.open} open`],
    ['denied', String(counts.denied)],
    ['failed', String(counts.failed)],
    ['bytes', `${bytes(counts.bytesOut)} out, ${bytes(counts.bytesIn)} in`],
  ]
  cli.print(table(['NETWORK', ''], rows))
}

const MEANING: Record<NetworkState['policy']['mode'], string> = {
  none: 'none: nothing',
  public: 'public: every public address, and what is allowed below',
  allow: 'allow: what is allowed below',
  audit: 'audit: every public address; what the list below would refuse is recorded',
}
