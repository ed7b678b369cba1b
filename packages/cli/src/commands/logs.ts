import type { EgressRecord } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { egressTable } from '../egress-log.ts'
import { parseCount, usageError } from '../parse.ts'

interface Flags {
  bytes?: number
  egress?: boolean
  denied?: boolean
  json?: boolean
}

export function register(program: Command, cli: Cli): void {
  program
    .command('logs')
    .summary("what a sandbox's init and supervisor have written, or what went outside")
    .description(
      "Print what a sandbox's init and supervisor have written. For a command's output see `coppice attach`. With --egress: what the sandbox asked for outside, oldest first.",
    )
    .argument('<sandbox>', 'id or name')
    .option('--bytes <count>', 'only the last so many bytes', parseCount)
    .option('--egress', 'every connection and name that was asked for outside')
    .option('--denied', 'with --egress: only what was refused')
    .option('--json', 'with --egress: one JSON value, a list')
    .addHelpText('after', '\nExamples:\n  coppice logs box\n  coppice logs box --egress --denied')
    .action((name: string, flags: Flags) => cli.finish(flags, () => logs(cli, name, flags)))
}

async function logs(cli: Cli, name: string, flags: Flags): Promise<void> {
  const { bytes, egress, denied, json } = flags
  if (!egress && (denied || json)) throw usageError('--denied and --json go with --egress.')
  if (egress && bytes !== undefined) throw usageError('--bytes does not go with --egress.')
  const sandbox = await cli.sandbox(name)
  if (!egress) {
    const text = await sandbox.logs({ ...(bytes === undefined ? {} : { bytes }) })
    process.stdout.write(text === '' || text.endsWith('\n') ? text : `${text}\n`)
    return
  }
  const records: EgressRecord[] = []
  for await (const record of sandbox.network.log({ denied })) records.push(record)
  if (json) cli.printJson(records)
  else cli.print(egressTable(records))
}
