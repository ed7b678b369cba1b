import type { ChangeNetwork } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { parseMode } from '../../network-options.ts'
import { usageError } from '../../parse.ts'
import { printNetwork } from './show.ts'

interface Flags {
  mode?: ChangeNetwork['mode']
  allow?: string[]
  deny?: string[]
  only?: string[]
  json?: boolean
}

export function register(network: Command, cli: Cli): void {
  network
    .command('set')
    .summary('change what a sandbox may reach')
    .description(
      'Change what a sandbox may reach, also while it runs: the next connection obeys, open ones that are refused now are cut. Prints what holds then.',
    )
    .argument('<sandbox>', 'id or name')
    .option('--mode <mode>', 'none, public, allow or audit', parseMode)
    .option('--allow <rule...>', 'add to the list (repeatable)')
    .option('--deny <rule...>', 'take off the list (repeatable)')
    .option('--only <rule...>', 'have this list; without --mode, and nothing else (repeatable)')
    .option('--json', 'one JSON value')
    .addHelpText(
      'after',
      `
Examples:
  coppice network set box --mode none
  coppice network set box --only api.github.com '*.githubusercontent.com' db.example:5432
  coppice network set box --allow 10.1.0.0/16`,
    )
    .action((name: string, flags: Flags) => cli.finish(flags, () => set(cli, name, flags)))
}

async function set(cli: Cli, name: string, flags: Flags): Promise<void> {
  const { mode, allow, deny, only } = flags
  if (!mode && !allow && !deny && !only) {
    throw usageError('Nothing is to be changed.', 'Say --mode, --allow, --deny or --only; see --help.')
  }
  const change: ChangeNetwork = {}
  const chosen = mode ?? (only ? 'allow' : undefined)
  if (chosen) change.mode = chosen
  if (only) change.allow = only
  if (allow) change.add = allow
  if (deny) change.remove = deny
  const sandbox = await cli.sandbox(name)
  const before = deny ? (await sandbox.network.get()).policy.allow : []
  const unknown = (deny ?? []).filter((rule) => !before.includes(rule))
  const state = await sandbox.network.change(change)
  for (const rule of unknown) cli.say(`coppice: ${rule} was not on the list`)
  if (state.policy.mode === 'none' && state.policy.allow.length > 0)
    cli.say('coppice: with the mode none the list means nothing; add --mode allow')
  printNetwork(cli, state, flags)
}
