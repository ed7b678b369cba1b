import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { oneLine } from '../../table.ts'

interface Flags {
  apply?: boolean
  json?: boolean
}

export function register(network: Command, cli: Cli): void {
  network
    .command('suggest')
    .summary('print the smallest allow-list for what a sandbox used')
    .description(
      'Print the smallest allow-list that would have allowed what the sandbox used, as a diff against the present one.',
    )
    .argument('<sandbox>', 'id or name')
    .option('--apply', 'make it the list, and refuse everything else')
    .option('--json', 'one JSON value')
    .addHelpText('after', '\nExamples:\n  coppice network suggest box\n  coppice network suggest box --apply')
    .action((name: string, flags: Flags) => cli.finish(flags, () => suggest(cli, name, flags)))
}

async function suggest(cli: Cli, name: string, flags: Flags): Promise<void> {
  const { network } = await cli.sandbox(name)
  const suggestion = await network.suggest()
  const { present, suggested, add, remove, basedOn } = suggestion
  if (flags.apply) await network.set(suggested)
  if (flags.json) {
    cli.printJson(suggestion)
    return
  }
  // Names come from inside: nothing in them may move a cursor.
  const diff = [...add.map((rule) => `+ ${rule}`), ...remove.map((rule) => `- ${rule}`)]
  if (diff.length > 0) cli.print(diff.map((line) => oneLine(line, 310)).join('\n'))
  const mode = present.mode === suggested.mode ? '' : `; mode ${present.mode} -> ${suggested.mode}`
  const next = flags.apply ? 'applied' : `apply with: coppice network suggest ${name} --apply`
  cli.say(`Based on ${basedOn} records${mode}; ${next}`)
}
