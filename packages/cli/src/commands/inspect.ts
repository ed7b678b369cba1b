import {
  CoppiceError,
  isCheckpointId,
  type ListeningPort,
  type NetworkState,
  type Sandbox,
  type SandboxInfo,
} from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../cli.ts'

/** Milliseconds that a sandbox has to say what listens in it: whoever looks at a sick one wants to see the rest at once. */
const LISTENING_MS = 5_000

export function register(program: Command, cli: Cli): void {
  program
    .command('inspect')
    .summary('all that is known of a sandbox or checkpoint, as JSON')
    .description(
      'Print all that is known of a sandbox as JSON, with what listens in it and counts of what went outside; of a removed one for 7 days, with why it ended.',
    )
    .argument('<sandbox>', 'id or name; or the id of a checkpoint')
    .option('--json', 'the same: it is JSON anyway')
    .addHelpText('after', '\nExample:\n  coppice inspect box')
    .action((name: string) => cli.finish({ json: true }, () => inspect(cli, name)))
}

async function inspect(cli: Cli, name: string): Promise<void> {
  if (isCheckpointId(name)) return cli.printJson(await (await cli.gateway()).checkpoints.get(name))
  const sandbox = await cli.sandbox(name)
  const info = await sandbox.inspect()
  const [network, listening] = await Promise.all([networkOf(cli, sandbox, info), listeningIn(cli, sandbox, info)])
  cli.printJson({ ...info, network, listening })
}

/** Policy and counts; the policy alone where the gateway knows no more. */
async function networkOf(
  cli: Cli,
  sandbox: Sandbox,
  { network }: SandboxInfo,
): Promise<SandboxInfo['network'] & Partial<Omit<NetworkState, 'policy'>>> {
  try {
    const { policy, ...state } = await sandbox.network.get()
    return { ...policy, ...state }
  } catch (error) {
    cli.say(`coppice: the counts of its network are not known: ${CoppiceError.from(error).message}`)
    return network
  }
}

/** Null: it does not run, or does not say. */
async function listeningIn(
  cli: Cli,
  sandbox: Sandbox,
  { state, connected }: SandboxInfo,
): Promise<ListeningPort[] | null> {
  if (state !== 'running' || !connected) return null
  try {
    return await sandbox.ports({ signal: AbortSignal.timeout(LISTENING_MS) })
  } catch (error) {
    cli.say(`coppice: what listens in it is not known: ${CoppiceError.from(error).message}`)
    return null
  }
}
