import { Coppice, CoppiceError, defaultHome, runningGateway, type Sandbox } from '@coppice/sdk'
import { exitCodeOfError } from './exit-codes.ts'

/** What every command works with: the gateway's client, and where its words go. Standard output is for programs. */
export class Cli {
  /** True when `--json` was given: one JSON value on standard output, also for a failure. */
  json = false
  /** Exit status of this program. */
  exitCode = 0
  readonly home: string
  #client: Coppice | undefined

  constructor(home = defaultHome()) {
    this.home = home
  }

  /** Does a command's work and decides the exit status: a number that the work returns, else 0, or what its failure stands for. */
  async finish(flags: { json?: boolean }, work: () => unknown): Promise<void> {
    this.json = flags.json === true
    try {
      const status = await work()
      this.exitCode = typeof status === 'number' ? status : 0
    } catch (error) {
      this.fail(error)
    }
  }

  /** Tells a failure, and makes the exit status the one that stands for it. */
  fail(error: unknown): void {
    const failure = CoppiceError.from(error)
    // Not one of ours is a mistake in this program: where it happened is worth more than how it is called.
    if (failure.reason === 'unexpected' && error instanceof Error) this.say(String(error.stack))
    this.sayError(failure)
    this.exitCode = exitCodeOfError(failure)
  }

  /** A client of the gateway. A local one that does not run is started first. */
  async gateway(): Promise<Coppice> {
    if (!this.#client) {
      if (!process.env.COPPICE_URL && !runningGateway(this.home)) {
        this.say(`Starting a gateway for ${this.home}`)
        const { startGateway } = await import('./gateway/start.ts')
        await startGateway({ home: this.home })
      }
      this.#client = new Coppice({ home: this.home })
    }
    return this.#client
  }

  /** A sandbox by id or name. Whether there is one is told by what is done with it. */
  async sandbox(idOrName: string): Promise<Sandbox> {
    return (await this.gateway()).sandboxes.get(idOrName)
  }

  /** One line, or lines, for programs. */
  print(text: string): void {
    process.stdout.write(`${text}\n`)
  }

  /** One JSON value for programs. */
  printJson(value: unknown): void {
    process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
  }

  /** Words for people. */
  say(text: string): void {
    process.stderr.write(`${text}\n`)
  }

  /** A failure: one sentence, its code and reason, and what to do next. */
  sayError(error: CoppiceError): void {
    if (this.json) this.printJson({ error: error.toBody() })
    const hint = error.hint === undefined ? '' : `\n  ${error.hint}`
    this.say(`coppice: ${error.message} (${error.code}/${error.reason})${hint}`)
  }
}
