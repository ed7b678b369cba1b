import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { socketPath } from '../address.ts'
import { Engine } from '../api/engine.ts'
import { DIALECTS, type EngineKind } from '../dialect.ts'
import { DockerContextStrategy } from './docker-context.ts'
import { EnvironmentStrategy } from './environment.ts'
import { PodmanConnectionStrategy } from './podman-connection.ts'
import { rootlessDockerSockets, rootlessPodmanSockets, usualDockerSockets, usualPodmanSockets } from './sockets.ts'
import type { Candidate, Strategy, Surroundings } from './strategy.ts'
import { ownSurroundings } from './surroundings.ts'

/** One strategy, and what came of it. */
export interface Attempt {
  strategy: string
  /** One sentence part: why it did not apply, or why what it found does not work. */
  because: string
}

export interface FoundEngine {
  engine: Engine
  /** Where its address is from, for people. */
  from: string
  /** What was tried before. */
  attempts: Attempt[]
}

const STRATEGIES: Record<EngineKind, () => Strategy[]> = {
  docker: () => [
    new EnvironmentStrategy('DOCKER_HOST', true),
    new DockerContextStrategy(),
    usualDockerSockets(),
    rootlessDockerSockets(),
  ],
  podman: () => [
    new EnvironmentStrategy('CONTAINER_HOST', true),
    new EnvironmentStrategy('DOCKER_HOST', false),
    usualPodmanSockets(),
    rootlessPodmanSockets(),
    new PodmanConnectionStrategy(),
  ],
}

/**
 * Finds an engine of this kind, by strategies in order. The first that answers is taken; an address that somebody chose and that
 * does not work ends the search. Throws that address's error, or `unavailable/no_engine` whose facts say of each strategy why not.
 */
export async function discoverEngine(
  kind: EngineKind,
  progress: Progress,
  surroundings: Surroundings = ownSurroundings(),
): Promise<FoundEngine> {
  const attempts: Attempt[] = []
  let forbidden: CoppiceError | undefined
  for (const strategy of STRATEGIES[kind]()) {
    progress.throwIfEnded()
    const found = await strategy.find(surroundings, progress)
    if ('because' in found) {
      attempts.push({ strategy: strategy.name, because: found.because })
      continue
    }
    for (const candidate of found) {
      try {
        return { engine: await connect(kind, candidate, progress), from: candidate.from, attempts }
      } catch (cause) {
        progress.throwIfEnded()
        const error = CoppiceError.from(cause)
        if (candidate.chosen) throw chosenFailed(candidate, error, attempts)
        // The truth is not "there is none" but "it may not be used".
        if (error.code === 'permission_denied') forbidden ??= error
        attempts.push({ strategy: strategy.name, because: error.message })
      }
    }
  }
  progress.throwIfEnded()
  throw forbidden ?? noEngine(kind, attempts)
}

async function connect(kind: EngineKind, candidate: Candidate, progress: Progress): Promise<Engine> {
  const engine = await Engine.connect(socketPath(candidate.address), kind, progress)
  if (engine.dialect.kind === kind) return engine
  const { title, kind: other } = engine.dialect
  throw new CoppiceError(
    'unavailable',
    'other_engine',
    `What answers at ${engine.socket} is ${title}, not ${DIALECTS[kind].title}.`,
    { retryable: false, facts: { socket: engine.socket, engine: other }, hint: `coppice create --driver ${other}` },
  )
}

function chosenFailed(candidate: Candidate, error: CoppiceError, attempts: Attempt[]): CoppiceError {
  const options = {
    facts: { ...error.facts, from: candidate.from, attempts },
    retryable: error.retryable,
    cause: error,
  }
  const message = `${candidate.from}: ${error.message}`
  return new CoppiceError(error.code, error.reason, message, error.hint ? { ...options, hint: error.hint } : options)
}

function noEngine(kind: EngineKind, attempts: Attempt[]): CoppiceError {
  const { title, startHint } = DIALECTS[kind]
  const tried = attempts.map(({ because }) => because).join('; ')
  return new CoppiceError('unavailable', 'no_engine', `No ${title} was found: ${tried}.`, {
    facts: { engine: kind, attempts },
    hint: startHint,
  })
}
