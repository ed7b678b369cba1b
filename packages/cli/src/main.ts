import { flushOutput } from './attached/output.ts'
import { Cli } from './cli.ts'
import { exitCodeOfSignal } from './exit-codes.ts'
import { runProgram } from './program.ts'

async function main(): Promise<never> {
  const cli = new Cli()
  // A reader that went away (`| head`) is no failure to tell anybody about: the program just ends.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') cli.exitCode ||= exitCodeOfSignal('SIGPIPE')
    })
  }
  await runProgram(process.argv.slice(2), cli)
  await flushOutput()
  process.exit(cli.exitCode)
}

void main()
