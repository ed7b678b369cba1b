import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { register as registerSet } from './network/set.ts'
import { register as registerShow } from './network/show.ts'
import { register as registerSuggest } from './network/suggest.ts'

export function register(program: Command, cli: Cli): void {
  const network = program
    .command('network')
    .summary('what a sandbox may reach outside')
    .description('What a sandbox may reach outside. What it did reach is in `coppice logs SANDBOX --egress`.')
    .addHelpText(
      'after',
      `
Examples:
  coppice network show box
  coppice network set box --only api.github.com '*.npmjs.org'
  coppice network set box --mode audit && … && coppice network suggest box --apply`,
    )
  for (const add of [registerShow, registerSet, registerSuggest]) add(network, cli)
}
