import type { Progress } from '@coppice/protocol/wire'
import type { Candidate, Strategy, Surroundings } from './strategy.ts'

/** The default of `podman system connection list`. */
export class PodmanConnectionStrategy implements Strategy {
  readonly name = 'podman-connection'

  async find(surroundings: Surroundings, progress: Progress): Promise<Candidate[] | { because: string }> {
    const text = await surroundings.run('podman', ['system', 'connection', 'list', '--format', 'json'], progress)
    if (text === undefined) return { because: 'there is no podman command that answers' }
    const connection = defaultOf(text)
    if (!connection) return { because: 'podman has no default connection' }
    return [{ address: connection.address, from: `podman connection "${connection.name}"`, chosen: true }]
  }
}

function defaultOf(text: string): { name: string; address: string } | undefined {
  let list: unknown
  try {
    list = JSON.parse(text)
  } catch {
    return undefined
  }
  if (!Array.isArray(list)) return undefined
  for (const item of list as { Name?: unknown; URI?: unknown; Default?: unknown }[]) {
    // Podman 4.3 marks the default with a star behind its name, later ones have a member for it.
    const name = String(item?.Name ?? '')
    if (typeof item?.URI !== 'string' || !(item.Default === true || name.endsWith('*'))) continue
    return { name: name.replace(/\*$/, ''), address: item.URI }
  }
  return undefined
}
