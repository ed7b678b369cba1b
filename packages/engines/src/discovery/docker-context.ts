import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'
import { readSettings } from './settings.ts'
import type { Candidate, Strategy, Surroundings } from './strategy.ts'

/**
 * The current context of the `docker` command: `DOCKER_CONTEXT`, or `currentContext` of `~/.docker/config.json`. One that is chosen
 * and cannot be read is an error, as it is for that command: what answers at the usual socket is not what was chosen.
 */
export class DockerContextStrategy implements Strategy {
  readonly name = 'docker-context'

  /** @throws `unavailable/docker_context_broken` */
  async find({ env, home }: Surroundings): Promise<Candidate[] | { because: string }> {
    const folder = env.DOCKER_CONFIG || join(home, '.docker')
    const file = join(folder, 'config.json')
    const chosen = env.DOCKER_CONTEXT ? { context: env.DOCKER_CONTEXT, by: 'DOCKER_CONTEXT' } : await configured(file)
    if ('because' in chosen) return chosen
    const { context, by } = chosen
    if (context === 'default') return { because: `${by} chooses docker's default` }
    // The folder's name is the SHA-256 of the context's.
    const meta = join(folder, 'contexts/meta', createHash('sha256').update(context).digest('hex'), 'meta.json')
    const settings = await readSettings(meta)
    const address = 'because' in settings ? undefined : hostOf(settings.values)
    if (address !== undefined) return [{ address, from: `docker context "${context}"`, chosen: true }]
    throw broken(context, by, 'because' in settings ? settings.because : `${meta} names no endpoint`)
  }
}

async function configured(file: string): Promise<{ context: string; by: string } | { because: string }> {
  const settings = await readSettings(file)
  if ('because' in settings) return { because: `no docker context is chosen: ${settings.because}` }
  const { currentContext: context } = settings.values
  if (typeof context !== 'string' || context === '') return { because: `no docker context is chosen in ${file}` }
  return { context, by: file }
}

function hostOf(meta: Record<string, unknown>): string | undefined {
  const endpoints = meta.Endpoints as { docker?: { Host?: unknown } } | undefined
  const host = endpoints?.docker?.Host
  return typeof host === 'string' && host !== '' ? host : undefined
}

function broken(context: string, by: string, why: string): CoppiceError {
  return new CoppiceError(
    'unavailable',
    'docker_context_broken',
    `${by} chooses the docker context "${context}", which cannot be used: ${why}.`,
    { retryable: false, facts: { context, by }, hint: 'docker context ls; docker context use default' },
  )
}
