import type { PortForward } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { parseForward } from '../parse.ts'

export function register(program: Command, cli: Cli): void {
  program
    .command('forward')
    .summary('make ports of a sandbox reachable here')
    .description(
      'Make ports of a sandbox reachable on this machine, on 127.0.0.1, until Ctrl-C. Any protocol; what listens on loopback inside is reached as it is.',
    )
    .argument('<sandbox>', 'id or name')
    .argument('<port...>', '[LOCAL:]PORT; LOCAL is the port here (default: the same; 0: any free one)')
    .option('--json', 'print one line of JSON when all ports are there')
    .addHelpText('after', '\nExamples:\n  coppice forward box 8080\n  coppice forward box 15432:5432 0:6379')
    .action((name: string, ports: string[], flags: { json?: boolean }) =>
      cli.finish(flags, () => forward(cli, name, ports, flags)),
    )
}

async function forward(cli: Cli, name: string, ports: string[], flags: { json?: boolean }): Promise<void> {
  const wanted = ports.map(parseForward)
  const sandbox = await cli.sandbox(name)
  const ended = interrupted()
  const forwards: PortForward[] = []
  try {
    const lines: { port: number; host: string; localPort: number; url: string }[] = []
    for (const { local, port } of wanted) {
      const one = await sandbox.forward(port, {
        localPort: local,
        onError: (error) => cli.say(`coppice: port ${port}: ${error.message}`),
      })
      forwards.push(one)
      lines.push({ port, host: one.host, localPort: one.port, url: one.url })
      cli.say(`${one.host}:${one.port} -> ${name}:${port}`)
    }
    if (flags.json) cli.print(JSON.stringify({ sandbox: name, forwards: lines }))
    await ended
  } finally {
    await Promise.all(forwards.map((one) => one.close()))
  }
}

function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => resolve())
  })
}
