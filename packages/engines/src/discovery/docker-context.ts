import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Candidate, Strategy, Surroundings } from './strategy.ts'

/** The current context of the `docker` command: `DOCKER_CONTEXT`, or `currentContext` of `~/.docker/config.json`. */
export class DockerContextStrategy implements Strategy {
  readonly name = 'docker-context'

  async find({ env, home }: Surroundings): Promise<Candidate[] | { because: string }> {
    const folder = env.DOCKER_CONFIG || join(home, '.docker')
    const configured = await readJson(join(folder, 'config.json'))
    const context = env.DOCKER_CONTEXT || configured?.currentContext
    if (typeof context !== 'string' || context === '' || context === 'default') {
      return { because: `no docker context is chosen in ${join(folder, 'config.json')}` }
    }
    // The folder's name is the SHA-256 of the context's.
    const meta = join(folder, 'contexts/meta', createHash('sha256').update(context).digest('hex'), 'meta.json')
    const address = hostOf(await readJson(meta))
    if (address === undefined) return { because: `the docker context "${context}" has no endpoint in ${meta}` }
    return [{ address, from: `docker context "${context}"`, chosen: true }]
  }
}

function hostOf(meta: Record<string, unknown> | undefined): string | undefined {
  const endpoints = meta?.Endpoints as { docker?: { Host?: unknown } } | undefined
  const host = endpoints?.docker?.Host
  return typeof host === 'string' && host !== '' ? host : undefined
}

async function readJson(path: string): Promise<Record<string, unknown> | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'))
    return value !== null && typeof value === 'object' ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
