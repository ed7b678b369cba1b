import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import type { Calls } from '../api/calls.ts'
import type { Images } from '../api/images.ts'
import { buildWithBuildKit } from '../buildkit/build.ts'
import { BuildSession } from '../buildkit/session.ts'
import { SyncedContext } from '../buildkit/synced-context.ts'
import { buildClassic } from './classic.ts'
import type { BuildContext, BuildOptions } from './options.ts'

/** What an engine answers to `_ping` as its builder when BuildKit was switched off, or is none of its system. */
const CLASSIC_ONLY = '1'

/** The builders of an engine. */
export class Builds {
  readonly #calls: Calls
  readonly #images: Images
  readonly #preferred: string | undefined

  /** @param preferred the builder that the engine names when it is asked who it is; older ones name none and have both */
  constructor(calls: Calls, images: Images, preferred: string | undefined) {
    this.#calls = calls
    this.#images = images
    this.#preferred = preferred
  }

  /**
   * Builds from a context that is sent as it comes: with BuildKit where the engine has it, else with its classic builder, of which
   * the first line says why. Yields what the builder says, line by line; ending the loop or the progress ends the build, and what
   * it has made goes, except the builder's cache.
   *
   * @throws `failed_precondition/build_failed` with the facts `step`, `lastLines` and `status`; `unavailable/build_session_lost`;
   * `unsupported/build_secrets` for secrets where there is only Docker's classic builder
   */
  async *build(context: BuildContext, options: BuildOptions, progress: Progress): AsyncGenerator<string> {
    const { dialect } = this.#calls.transport
    const synced = context.hidden ? new SyncedContext(context.chunks, context.hidden) : undefined
    const session = dialect.buildKit ? await this.#session(options, synced, progress) : undefined
    if (session instanceof BuildSession) {
      try {
        yield* buildWithBuildKit(this.#calls, session, synced ?? context, options, progress)
      } finally {
        session.close()
      }
      return
    }
    if (session && options.secrets?.size) throw noSecrets(session.without)
    if (session) yield `${dialect.title} builds with its classic builder, not with BuildKit: ${session.without}.`
    yield* buildClassic(this.#calls, this.#images, context, options, progress)
  }

  /** What BuildKit needs, or why there is none. */
  async #session(
    options: BuildOptions,
    synced: SyncedContext | undefined,
    progress: Progress,
  ): Promise<BuildSession | { without: string }> {
    if (options.classic) return { without: 'so it was asked for' }
    if (this.#preferred === CLASSIC_ONLY) return { without: 'it is switched off in the engine' }
    try {
      return await BuildSession.open(this.#calls, options, synced?.conversations ?? {}, progress)
    } catch (cause) {
      const failure = CoppiceError.from(cause)
      if (failure.reason !== 'engine_refused') throw failure
      return { without: `the engine refuses a session (${String(failure.facts.detail).trim()})` }
    }
  }
}

function noSecrets(without: string): CoppiceError {
  return new CoppiceError(
    'unsupported',
    'build_secrets',
    `Docker's classic builder has no secrets, and BuildKit does not build: ${without}.`,
    {
      facts: { builders: ['BuildKit', 'Podman'] },
      hint: 'docker buildx version; docs/images.md says when BuildKit builds',
    },
  )
}
