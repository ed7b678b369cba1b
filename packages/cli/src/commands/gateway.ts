import { resolve } from 'node:path'
import { runningGateway } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { runGateway, startGateway } from '../gateway/start.ts'
import { gatewayStatus } from '../gateway/status.ts'
import { stopGateway } from '../gateway/stop.ts'
import { usageError } from '../parse.ts'

interface StartFlags {
  foreground?: boolean
  listen?: string
  tlsCert?: string
  tlsKey?: string
  tlsName?: string[]
  port?: string
}

export function register(program: Command, cli: Cli): void {
  const gateway = program
    .command('gateway')
    .summary('start, stop and look at the gateway')
    .description('The gateway: the one process that owns the sandboxes. Commands that need one start it by themselves.')
    .addHelpText(
      'after',
      '\nExamples:\n  coppice gateway start\n  coppice gateway status --json\n  coppice gateway stop',
    )
  gateway
    .command('start')
    .summary('start the gateway in the background')
    .description('Start the gateway in the background, and return when it answers. One that runs already is a success.')
    .option('--foreground', 'stay, and log here')
    .option('--port <number>', 'port on loopback (default: any free one)')
    .option('--listen <addr:port>', 'also serve other machines, with TLS only')
    .option('--tls-cert <file>', 'certificate for --listen, PEM')
    .option('--tls-key <file>', 'its key, PEM')
    .option(
      '--tls-name <name>',
      'a name that clients may call it by (repeatable)',
      (name: string, sofar: string[] = []) => [...sofar, name],
    )
    .action((flags: StartFlags) => cli.finish({}, () => start(cli, flags)))
  gateway
    .command('stop')
    .summary('end the gateway; the sandboxes go on')
    .description('End the gateway. The sandboxes go on.')
    .action(() => cli.finish({}, () => stop(cli)))
  gateway
    .command('status')
    .summary('where the gateway is and what it can do')
    .description('Where the gateway is, what it can do, how many sandboxes it has.')
    .option('--json', 'one JSON value with at least pid, url, version, home')
    .action((flags: { json?: boolean }) => cli.finish(flags, () => gatewayStatus(cli, flags)))
}

async function start(cli: Cli, flags: StartFlags): Promise<number> {
  const args = Object.entries({
    '--port': flags.port,
    '--listen': flags.listen,
    '--tls-cert': flags.tlsCert === undefined ? undefined : resolve(flags.tlsCert),
    '--tls-key': flags.tlsKey === undefined ? undefined : resolve(flags.tlsKey),
  }).flatMap(([name, value]) => (value === undefined ? [] : [name, value]))
  for (const name of flags.tlsName ?? []) args.push('--tls-name', name)
  if (flags.listen !== undefined && (flags.tlsCert === undefined || flags.tlsKey === undefined)) {
    throw usageError('A gateway serves other machines with TLS only.', 'Give --tls-cert FILE and --tls-key FILE too.')
  }
  if (flags.foreground) return runGateway({ home: cli.home, args })
  const before = runningGateway(cli.home)
  const record = await startGateway({ home: cli.home, args })
  const already = before?.pid === record.pid
  if (already && args.length > 0)
    throw usageError('The gateway runs already, with other options.', 'coppice gateway stop')
  cli.say(`The gateway ${already ? 'runs already' : 'runs'}: ${record.url}, pid ${record.pid}, home ${record.home}`)
  return 0
}

async function stop(cli: Cli): Promise<void> {
  if (process.env.COPPICE_URL) {
    throw usageError('COPPICE_URL names a gateway that is not for this command to stop.', 'Unset COPPICE_URL.')
  }
  const pid = await stopGateway(cli.home)
  cli.say(pid === undefined ? `No gateway runs for ${cli.home}` : `The gateway (pid ${pid}) ended; sandboxes go on`)
}
