import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { parsePort, usageError } from '../parse.ts'

interface Flags {
  public?: boolean
  private?: boolean
  json?: boolean
}

export function register(program: Command, cli: Cli): void {
  program
    .command('preview')
    .summary('the address under which a browser sees a port of a sandbox')
    .description(
      'Print the address under which a port of a sandbox is served, alone. Whoever has it can use the ports of that sandbox: it holds a token, unless the port is public.',
    )
    .argument('<sandbox>', 'id or name')
    .argument('<port>', 'port inside', parsePort)
    .option('--public', 'serve it to everybody who can reach the gateway, without a token')
    .option('--private', 'take that back')
    .option('--json', 'one JSON value')
    .addHelpText(
      'after',
      '\nExamples:\n  xdg-open "$(coppice preview box 8080)"\n  curl "$(coppice preview box 8080)"\n  coppice preview box 8080 --public',
    )
    .action((name: string, port: number, flags: Flags) => cli.finish(flags, () => preview(cli, name, port, flags)))
}

async function preview(cli: Cli, name: string, port: number, flags: Flags): Promise<void> {
  if (flags.public && flags.private) throw usageError('--public and --private exclude each other.')
  const wanted = flags.public ? true : flags.private ? false : undefined
  const shown = await (await cli.sandbox(name)).preview(port, { public: wanted })
  if (flags.json) cli.printJson(shown)
  else cli.print(shown.url)
}
