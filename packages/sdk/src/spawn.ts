import type { GatewayConnection } from './connection.ts'
import { Exec, startRequest } from './exec.ts'
import type { IdentifiedSpec, SpawnOptions } from './exec-options.ts'

/** Starts an exec and resolves when the supervisor says that it has started. */
export async function spawnExec(
  connection: GatewayConnection,
  sandboxPath: string,
  spec: IdentifiedSpec,
  options: SpawnOptions,
): Promise<Exec> {
  const exec = new Exec(connection, {
    id: spec.id,
    key: spec.key,
    from: 0,
    start: startRequest(sandboxPath, spec),
    sandboxPath,
    block: options.journal === 'block',
    stdinAt: options.stdin === 'stream' || options.pty !== undefined ? 0 : undefined,
    boundMs: options.boundMs,
    signal: options.signal,
  })
  await exec.started
  return exec
}
