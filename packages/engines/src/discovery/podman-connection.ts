import type { Progress } from '@coppice/protocol/wire'
import type { Candidate, Strategy, Surroundings } from './strategy.ts'

/** The default of `podman system connection list`. */
export class PodmanConnectionStrategy implements Strategy {
  readonly name = 'podman-connection'

  async find(surroundings: Surroundings, progress: Progress): Promise<Candidate[] | { because: string }> {
    const list = await surroundings.run('podman', ['system', 'connection', 'list', '--format', 'json'], progress)
    if ('because' in list) return list
    const connection = defaultOf(list.printed)
    if (connection === 'garbled') return { because: 'podman system connection list printed no list' }
    if (!connection) return { because: 'podman has no default connection' }
    return [{ address: connection.address, from: `podman connection "${connection.name}"`, chosen: true }]
  }
}

function defaultOf(text: string): { name: string; address: string } | 'garbled' | undefined {
  let list: unknown
  try {
    list = JSON.parse(text)
  } catch {
    return 'garbled'
  }
  if (!Array.isArray(list)) return 'garbled'
  for (const item of list as { Name?: unknown; URI?: unknown; Default?: unknown }[]) {
    // Podman 4.3 marks the default with a star behind its name, later ones have a member for it.
    const name = String(item?.Name ?? '')
    if (typeof item?.URI !== 'string' || !(item.Default === true || name.endsWith('*'))) continue
    return { name: name.replace(/\*$/, ''), address: item.URI }
  }
  return undefined
}
